"""Compare patches, covers, comments and series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from ingest.patchwork.verify.difference import Comparison
from ingest.series.outcome import Outcome
from ingest.store.activity.overrides import read_related_patches
from ingest.store.patchwork import message_rows
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.rows import (
    MessageKey,
    PatchworkComment,
    PatchworkPatch,
    PatchworkSeries,
)
from ingest.store.read.messages import MessageRow, read_message_keys, read_messages
from ingest.store.read.series import read_members, read_series
from ingest.store.site.comment_marks import read_comment_marks
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.key_lists import batches

Rows = Mapping[NumberKind, Mapping[int, int | None]]


def compare_patches(
    connection: Connection,
    database: PatchworkDatabase,
    keys: Mapping[int, MessageKey],
    rows: Rows,
    slugs: Mapping[int, str],
    result: Comparison,
) -> None:
    """Compare the patches. `keys`: their identities; `slugs`: the slugs of states."""
    related: dict[int, set[int]] = defaultdict(set)
    set_of: dict[int, int] = {}
    for patch in message_rows.fetch_patches(database):
        if patch.related is not None:
            set_of[patch.number] = patch.related
            row_id = rows[NumberKind.PATCH].get(patch.number)
            if row_id is not None:
                related[patch.related].add(row_id)
    for batch in batches(message_rows.fetch_patches(database)):
        contents = _read_contents(database, NumberKind.PATCH, [row.number for row in batch])
        stored = _read_stored(connection, rows[NumberKind.PATCH], [row.number for row in batch])
        ours_related = read_related_patches(connection, [row.id for row in stored.values()])
        for patch in batch:
            found = stored.get(patch.number)
            own_id = found.id if found is not None else 0
            theirs = {
                **_patch(patch, keys[patch.number], rows, slugs),
                **contents[patch.number],
                "related": tuple(sorted(related[set_of.get(patch.number, 0)] - {own_id})),
            }
            ours = None
            if found is not None and found.outcome is Outcome.PATCH:
                ours = {**_stored_patch(found), "related": ours_related.get(found.id, ())}
            result.compare("patch", patch.number, theirs, ours, reason=_reason(found))


def _reason(found: MessageRow | None) -> str:
    """Return why a message is what it is here."""
    if found is None:
        return "its mail is not stored"
    parts = [f"{found.outcome}: {found.reason}"]
    if found.rewriting is not None:
        source = f", sender taken from {found.person_source}" if found.person_source else ""
        parts.append(f"From was rewritten by {found.rewriting}{source}")
    if found.rule:
        evidence = f" ({found.evidence})" if found.evidence else ""
        parts.append(f"in its series by the rule {found.rule}{evidence}")
    return "; ".join(parts)


def _read_contents(
    database: PatchworkDatabase, kind: NumberKind, numbers: Sequence[int]
) -> dict[int, dict[str, str]]:
    return {
        content.number: {
            "content": _squeeze(content.content),
            "diff": _squeeze(content.diff or ""),
        }
        for content in message_rows.fetch_contents(database, kind, numbers)
    }


def _squeeze(text: str) -> str:
    """Return a text without the white space at the ends of lines, and without empty lines."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _read_stored(
    connection: Connection, rows: Mapping[int, int | None], numbers: Iterable[int]
) -> dict[int, MessageRow]:
    """Return the messages to which these numbers lead."""
    wanted = {number: row_id for number in numbers if (row_id := rows.get(number)) is not None}
    found = {row.id: row for row in read_messages(connection, sorted(set(wanted.values())))}
    return {number: found[row_id] for number, row_id in wanted.items() if row_id in found}


def _patch(
    patch: PatchworkPatch, key: MessageKey, rows: Rows, slugs: Mapping[int, str]
) -> dict[str, Any]:
    series = patch.series
    return {
        "project": key.project,
        "name": patch.name,
        "date": patch.date,
        "submitter": rows[NumberKind.PERSON].get(patch.submitter),
        "state": slugs.get(patch.state or 0),
        "archived": patch.archived,
        "commit_ref": patch.commit_ref or None,
        "delegate": patch.delegate,
        "hash": patch.hash,
        "pull_url": patch.pull_url or None,
        "series": rows[NumberKind.SERIES].get(series) if series is not None else None,
    }


def _stored_patch(row: MessageRow) -> dict[str, Any]:
    return {
        **_stored(row),
        "state": row.current_state,
        "archived": row.archived,
        "commit_ref": row.commit_ref or None,
        "delegate": row.delegate_id,
        "hash": row.hash,
        "pull_url": row.pull_url or None,
        "series": row.series_id,
    }


def _stored(row: MessageRow) -> dict[str, Any]:
    return {
        "project": row.lists[0].id if row.lists else None,
        "name": row.name,
        "date": _second(row.date),
        "submitter": row.person_id,
        "content": _squeeze(row.content),
        "diff": _squeeze(row.diff or ""),
    }


def _second(date: datetime | None) -> datetime | None:
    return date.replace(microsecond=0) if date is not None else None


def compare_covers(
    connection: Connection,
    database: PatchworkDatabase,
    keys: Mapping[int, MessageKey],
    rows: Rows,
    result: Comparison,
) -> None:
    """Compare the covers."""
    kind = NumberKind.COVER
    for batch in batches(message_rows.fetch_covers(database)):
        contents = _read_contents(database, kind, [row.number for row in batch])
        stored = _read_stored(connection, rows[kind], [row.number for row in batch])
        for cover in batch:
            found = stored.get(cover.number)
            theirs = {
                "project": keys[cover.number].project,
                "name": cover.name,
                "date": cover.date,
                "submitter": rows[NumberKind.PERSON].get(cover.submitter),
                "content": contents[cover.number]["content"],
            }
            ours = _stored(found) if found and found.outcome is Outcome.COVER else None
            result.compare("cover", cover.number, theirs, ours, reason=_reason(found))


def compare_comments(
    connection: Connection,
    database: PatchworkDatabase,
    keys: Mapping[tuple[NumberKind, int], MessageKey],
    rows: Rows,
    result: Comparison,
) -> None:
    """Compare the comments, with what they apply to."""
    for batch in batches(message_rows.fetch_comments(database)):
        for kind in (NumberKind.COVER_COMMENT, NumberKind.PATCH_COMMENT):
            own = [row for row in batch if row.kind is kind]
            contents = _read_contents(database, kind, [row.number for row in own])
            stored = _read_stored(connection, rows[kind], [row.number for row in own])
            marks = read_comment_marks(connection, [row.id for row in stored.values()])
            for comment in own:
                found = stored.get(comment.number)
                theirs = _comment(comment, keys[kind, comment.number], rows)
                theirs["content"] = contents[comment.number]["content"]
                ours = None
                if found is not None and found.outcome is Outcome.COMMENT:
                    ours = {
                        "parent": found.parent_id,
                        "date": _second(found.date),
                        "submitter": found.person_id,
                        "addressed": marks.get(found.id),
                        # A diff within a reply is part of its text in Patchwork.
                        "content": _squeeze(found.content + "\n" + (found.diff or "")),
                    }
                result.compare(str(kind), comment.number, theirs, ours, reason=_reason(found))


def _comment(comment: PatchworkComment, key: MessageKey, rows: Rows) -> dict[str, Any]:
    parent_kind = NumberKind.COVER if comment.kind is NumberKind.COVER_COMMENT else NumberKind.PATCH
    return {
        "parent": rows[parent_kind].get(key.parent) if key.parent is not None else None,
        "date": comment.date,
        "submitter": rows[NumberKind.PERSON].get(comment.submitter),
        "addressed": comment.addressed,
    }


def compare_series(
    connection: Connection,
    series: Sequence[PatchworkSeries],
    members: Mapping[int, Sequence[int]],
    rows: Rows,
    result: Comparison,
) -> None:
    """Compare the series. `members`: the numbers of their patches, by series."""
    for batch in batches(series):
        ids = {row_id for row in batch if (row_id := rows[NumberKind.SERIES].get(row.number))}
        stored = {row.id: row for row in read_series(connection, ids)}
        patches = read_members(connection, ids)
        for row in batch:
            row_id = rows[NumberKind.SERIES].get(row.number)
            found = stored.get(row_id or 0)
            wanted = tuple(
                message_id
                for number in members.get(row.number, ())
                if (message_id := rows[NumberKind.PATCH].get(number)) is not None
            )
            theirs = {
                "number": row.number,
                "name": row.name,
                "version": row.version,
                "total": row.total,
                "date": row.date,
                "submitter": rows[NumberKind.PERSON].get(row.submitter),
                "cover": rows[NumberKind.COVER].get(row.cover) if row.cover is not None else None,
                "patches": wanted,
            }
            ours = None
            reason = ""
            if found is not None:
                own = tuple(patches.get(found.id, ()))
                ours = {
                    "number": found.id,
                    "name": found.name,
                    "version": found.version,
                    "total": found.total,
                    "date": _second(found.date),
                    "submitter": found.person_id,
                    "cover": found.cover_id,
                    "patches": own,
                }
                reason = _explain_series(connection, wanted, own)
            result.compare("series", row.number, theirs, ours, reason=reason)


def _explain_series(connection: Connection, theirs: Sequence[int], ours: Sequence[int]) -> str:
    """Say which patches are in one of the two series only, and why they are where they are."""
    if set(theirs) == set(ours):
        first = next(read_messages(connection, ours[:1], brief=True), None)
        return _reason(first) if first is not None else ""
    lines = []
    for label, ids in (
        ("only here", sorted(set(ours) - set(theirs))),
        ("only in Patchwork", sorted(set(theirs) - set(ours))),
    ):
        if ids:
            found = list(read_messages(connection, ids, brief=True))
            named = read_message_keys(connection, [row.id for row in found[:3]])
            rules = sorted({f"{row.rule}" if row.rule else row.reason for row in found})
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            lines.append(f"{label}: {', '.join(named.values())}{more} ({', '.join(rules)})")
    return "; ".join(lines)
