"""Write the canonical export: what the mail says, and nothing of when or how it arrived.

JSON Lines in UTF-8, keys sorted, lines sorted by type and id. Two stores with the same mail export
the same bytes: there are no database ids, no times of arrival, no sources. It reads in batches, so
that memory does not depend on the size of the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from ingest.lifecycle.evidence import Evidence
from ingest.mail.message import Address
from ingest.reports.fields import dependency_json, evidence_json, format_date, join_minor
from ingest.series.outcome import Outcome
from ingest.store.activity.overrides import export_overrides
from ingest.store.activity.state_sources import read_evidence
from ingest.store.read import messages
from ingest.store.read.dependencies import DependencyEdge, read_dependencies
from ingest.store.read.messages import MessageRow
from ingest.store.read.outcomes import read_underived, stream_outcomes
from ingest.store.read.revisions import find_superseded
from ingest.store.read.series import SeriesRow, read_members, read_series, stream_series
from ingest.store.read.substitutes import NOT_AVAILABLE, find_substitutes


def export_records(connection: Connection, *, everything: bool = False) -> Iterator[str]:
    """Yield the lines, each with its newline, in the order of their types.

    The types are comment, cover, list, message, patch, series. The state of a patch is what mail
    and commits show. With `everything`, the records of what people set follow: check, choice. The
    caller begins the transaction; all lines are of one state only if its isolation provides that.
    """
    for record in _mail_records(connection):
        yield _format_line(record)
    if everything:
        for record in export_overrides(connection):
            yield _format_line(record)


def _format_line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n"


def _mail_records(connection: Connection) -> Iterator[dict[str, Any]]:
    for ids in messages.stream_message_ids(connection, outcome=Outcome.COMMENT):
        rows = list(messages.read_messages(connection, ids))
        parents = messages.read_message_keys(
            connection, {row.parent_id for row in rows if row.parent_id}
        )
        yield from (_comment(row, parents) for row in rows)
    for ids in messages.stream_message_ids(connection, outcome=Outcome.COVER):
        edges = read_dependencies(connection, ids)
        rows = list(messages.read_messages(connection, ids))
        series = _series_of(connection, rows)
        yield from (_cover(row, series, edges.get(row.id, [])) for row in rows)
    yield from _lists(connection)
    yield from _messages(connection)
    for ids in messages.stream_message_ids(connection, outcome=Outcome.PATCH):
        edges = read_dependencies(connection, ids)
        evidence = read_evidence(connection, ids)
        rows = list(messages.read_messages(connection, ids))
        series = _series_of(connection, rows)
        for row in rows:
            yield _patch(row, series, edges.get(row.id, []), evidence.get(row.id, []))
    for batch in stream_series(connection):
        yield from _series(connection, batch)


def _series_of(connection: Connection, rows: Iterable[MessageRow]) -> dict[int, SeriesRow]:
    """Return the series of these messages, by number."""
    ids = {row.series_id for row in rows if row.series_id is not None}
    return {row.id: row for row in read_series(connection, ids)}


def _person(address: Address) -> dict[str, str]:
    return {"name": address.name, "email": address.email}


def _common(row: MessageRow) -> dict[str, Any]:
    """Return the fields that patches, covers and comments share."""
    fields: dict[str, Any] = {
        "msgid": row.msgid,
        "lists": [list_row.list_id for list_row in row.lists],
        "date": format_date(row.date),
        "submitter": _person(row.submitter),
        "author": _person(row.author or row.submitter),
        "content": row.content,
        "trailers": [{"key": trailer.key, "value": trailer.value} for trailer in row.trailers],
    }
    if row.variant:
        fields["variant"] = row.variant
    return fields


def _series_key(row: MessageRow, series: dict[int, SeriesRow]) -> str | None:
    return series[row.series_id].key if row.series_id is not None else None


def _patch(
    row: MessageRow,
    series: dict[int, SeriesRow],
    edges: list[DependencyEdge],
    evidence: list[Evidence],
) -> dict[str, Any]:
    record = {
        "type": "patch",
        **_common(row),
        "name": row.name,
        "prefixes": list(row.prefixes),
        "hash": row.hash,
        "patch_id": row.patch_id,
        "pull_url": row.pull_url,
        "commit_ref": row.derived_commit_ref,
        "diff": row.diff,
        "series": _series_key(row, series),
        "number": join_minor(row.number, row.minor),
        "depends_on": [dependency_json(edge) for edge in edges],
        "state": row.derived_state or row.state,
    }
    if row.derived_delegates:
        record["delegates"] = list(row.derived_delegates)
    if evidence:
        record["state_evidence"] = [evidence_json(item) for item in evidence]
    return record


def _cover(
    row: MessageRow, series: dict[int, SeriesRow], edges: list[DependencyEdge]
) -> dict[str, Any]:
    return {
        "type": "cover",
        **_common(row),
        "name": row.name,
        "prefixes": list(row.prefixes),
        "pull_url": row.pull_url,
        "series": _series_key(row, series),
        "depends_on": [dependency_json(edge) for edge in edges],
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
    for row in messages.read_posted_lists(connection):
        yield {
            "type": "list",
            "list_id": row.list_id,
            "link_name": row.link_name,
            "list_email": row.email,
        }


def _messages(connection: Connection) -> Iterator[dict[str, Any]]:
    # Mail that was not parsed yet sorts first, and is identified by the digest of its bytes.
    for mail in read_underived(connection):
        yield {
            "type": "message",
            "msgid": None,
            "sha256": mail.sha256.hex(),
            "outcome": "failed" if mail.reason else "pending",
            "reason": mail.reason,
        }
    substitutes = find_substitutes(connection)
    for row in stream_outcomes(connection):
        record: dict[str, Any] = {
            "type": "message",
            "msgid": row.msgid,
            "outcome": row.outcome,
            "reason": row.reason,
        }
        if row.variant:
            record |= {"variant": row.variant, "conflict": True}
        if (row.msgid, row.variant) in substitutes:
            record["mail"] = NOT_AVAILABLE
        yield record


def _series(connection: Connection, series: Sequence[SeriesRow]) -> Iterator[dict[str, Any]]:
    series_ids = [row.id for row in series]
    members = read_members(connection, series_ids)
    ids = {message_id for patch_ids in members.values() for message_id in patch_ids}
    ids |= {row.cover_id for row in series if row.cover_id is not None}
    keys = messages.read_message_keys(connection, ids)
    lists = messages.read_list_names(connection, ids)
    links = find_superseded(connection, series_ids)
    for row in series:
        patch_ids = members.get(row.id, [])
        all_ids = [*patch_ids, row.cover_id] if row.cover_id is not None else patch_ids
        list_ids = {list_id for message_id in all_ids for list_id in lists.get(message_id, ())}
        yield {
            "type": "series",
            "key": row.key,
            "lists": sorted(list_ids),
            "name": row.name,
            "version": join_minor(row.version, row.version_minor),
            "total": row.total,
            "received_total": row.received_total,
            "received_all": row.received_all,
            "date": format_date(row.date),
            "submitter": _person(row.submitter),
            "cover": keys[row.cover_id] if row.cover_id is not None else None,
            "patches": [keys[message_id] for message_id in patch_ids],
            "supersedes": links[row.id].key if row.id in links else None,
        }
