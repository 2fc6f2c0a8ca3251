"""The canonical export: what the mail says, and nothing of when or how it came.

JSON Lines in UTF-8, keys sorted, lines sorted by type and id. Two stores that hold the same
mail export the same bytes: there are no database ids, no times of arrival, no sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, select

from ingest.mail.message import Address
from ingest.store import schema
from ingest.store.activity.overrides import export_overrides
from ingest.store.read import messages
from ingest.store.read.dependencies import DependencyEdge, read_dependencies
from ingest.store.read.messages import MessageRow
from ingest.store.read.revisions import find_superseded
from ingest.store.read.series import SeriesRow, read_members, series_where


def export_records(connection: Connection, *, everything: bool = False) -> Iterator[str]:
    """The lines, each with its newline, in order of type: comment, cover, list, message,
    patch, series. With `everything` those of what people said follow: check, choice.
    """
    for one in _objects(connection):
        yield json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n"
    for one in export_overrides(connection) if everything else ():
        yield json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n"


def _objects(connection: Connection) -> Iterator[dict[str, Any]]:
    series = {row.id: row for row in series_where(connection)}
    for ids in _batches(messages.message_ids(connection, outcome="comment")):
        rows = list(messages.read_messages(connection, ids))
        parents = messages.message_keys(
            connection, {row.parent_id for row in rows if row.parent_id}
        )
        yield from (_comment(row, parents) for row in rows)
    for ids in _batches(messages.message_ids(connection, outcome="cover")):
        yield from (_cover(row, series) for row in messages.read_messages(connection, ids))
    yield from _lists(connection)
    yield from _messages(connection)
    for ids in _batches(messages.message_ids(connection, outcome="patch")):
        edges = read_dependencies(connection, ids)
        for row in messages.read_messages(connection, ids):
            yield _patch(row, series, edges.get(row.id, []))
    yield from _series(connection, series)


def format_date(date: datetime | None) -> str | None:
    """A time as records show it: UTC, ISO 8601, seconds, without offset."""
    return date.isoformat(timespec="seconds") if date is not None else None


def count_text(value: int | None, minor: int) -> int | float | None:
    """A patch's number: 3, or 0.5 for one that was put in between."""
    return float(f"{value}.{minor}") if value is not None and minor else value


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), 500):
        yield ids[start : start + 500]


def _person(address: Address) -> dict[str, str]:
    return {"name": address.name, "email": address.email}


def _identity(row: MessageRow) -> dict[str, Any]:
    known = {"msgid": row.msgid}
    return {**known, "variant": row.variant} if row.variant else known


def _common(row: MessageRow) -> dict[str, Any]:
    return {
        **_identity(row),
        "lists": [one.list_id for one in row.lists],
        "date": format_date(row.date),
        "submitter": _person(row.submitter),
        "author": _person(row.author or row.submitter),
        "content": row.content,
        "trailers": [{"key": one.key, "value": one.value} for one in row.trailers],
    }


def _key(row: MessageRow, series: dict[int, SeriesRow]) -> str | None:
    return series[row.series_id].key if row.series_id is not None else None


def _patch(
    row: MessageRow, series: dict[int, SeriesRow], edges: list[DependencyEdge]
) -> dict[str, Any]:
    return {
        "type": "patch",
        **_common(row),
        "name": row.name,
        "prefixes": list(row.prefixes),
        "hash": row.hash,
        "patch_id": row.patch_id,
        "pull_url": row.pull_url,
        "commit_ref": None,  # that is for people to set
        "diff": row.diff,
        "series": _key(row, series),
        "number": count_text(row.number, row.minor),
        "depends_on": [
            {"kind": edge.kind, "target": edge.target, "found": edge.found} for edge in edges
        ],
        "state": row.state,
    }


def _cover(row: MessageRow, series: dict[int, SeriesRow]) -> dict[str, Any]:
    return {
        "type": "cover",
        **_common(row),
        "name": row.name,
        "prefixes": list(row.prefixes),
        "pull_url": row.pull_url,
        "series": _key(row, series),
    }


def _comment(row: MessageRow, parents: dict[int, str]) -> dict[str, Any]:
    common = _common(row)
    del common["author"]
    return {
        "type": "comment",
        **common,
        "parent": parents[row.parent_id] if row.parent_id is not None else None,
        "in_reply_to": row.in_reply_to,
    }


def _lists(connection: Connection) -> Iterator[dict[str, Any]]:
    # A list that another configuration took may have a row and no mail.
    posted = exists().where(schema.posting.c.list_id == schema.list_.c.id)
    rows = connection.execute(select(schema.list_).where(posted)).all()
    for row in sorted(rows, key=lambda row: row.list_id):
        yield {
            "type": "list",
            "list_id": row.list_id,
            "link_name": row.link_name,
            "list_email": row.email,
        }


def _messages(connection: Connection) -> Iterator[dict[str, Any]]:
    message, mail, pending = schema.message.c, schema.mail.c, schema.pending.c
    found: list[dict[str, Any]] = []
    query = select(message.msgid, message.variant, message.outcome, message.reason)
    for row in connection.execute(query):
        one = {
            "type": "message",
            "msgid": row.msgid,
            "outcome": row.outcome,
            "reason": row.reason,
        }
        if row.variant:
            one |= {"variant": row.variant, "conflict": True}
        found.append(one)
    # Mail that no parser of ours has read yet is named by the digest of its bytes.
    waiting = select(mail.sha256, pending.reason).join(schema.pending, pending.mail_id == mail.id)
    found += [
        {
            "type": "message",
            "msgid": None,
            "sha256": bytes(sha256).hex(),
            "outcome": "failed" if reason else "pending",
            "reason": reason,
        }
        for sha256, reason in connection.execute(waiting)
    ]
    found.sort(key=lambda one: (one["msgid"] or "", one.get("variant", ""), one.get("sha256", "")))
    yield from found


def _series(connection: Connection, series: dict[int, SeriesRow]) -> Iterator[dict[str, Any]]:
    members = read_members(connection, series)
    ids = {one for some in members.values() for one in some}
    ids |= {row.cover_id for row in series.values() if row.cover_id is not None}
    names = messages.message_keys(connection, ids)
    lists = messages.list_names_of(connection, ids)
    links = find_superseded(connection, series)
    for row in sorted(series.values(), key=lambda row: row.key):
        patches = members.get(row.id, [])
        all_ = [*patches, row.cover_id] if row.cover_id is not None else patches
        yield {
            "type": "series",
            "key": row.key,
            "lists": sorted({list_id for one in all_ for list_id in lists.get(one, ())}),
            "name": row.name,
            "version": count_text(row.version, row.version_minor),
            "total": row.total,
            "received_total": row.received_total,
            "received_all": row.received_all,
            "date": format_date(row.date),
            "submitter": _person(row.submitter),
            "cover": names[row.cover_id] if row.cover_id is not None else None,
            "patches": [names[one] for one in patches],
            "supersedes": links[row.id].key if row.id in links else None,
        }
