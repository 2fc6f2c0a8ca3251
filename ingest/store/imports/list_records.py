"""Write the records of messages on further lists, with Patchwork's series of these.

See store.site.list_records. They have what the message has, under the number of the other record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.imports.messages import Record
from ingest.store.listing import sync_listing
from ingest.store.patchwork.rows import PatchworkSeries
from ingest.store.site.list_records import variant_of
from ingest.store.site.numbers import OUTCOMES
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any

# The tables with what a message has, and that its record on another list has too.
_COPIED = (schema.body, schema.trailer, schema.patch, schema.cover)


@frozen
class FurtherRecord:
    """A record on a further list. `parent_id` is that of a comment there."""

    record: Record
    list_id: int
    original_id: int
    parent_id: int | None


def write_further_records(connection: Connection, items: Sequence[FurtherRecord]) -> set[int]:
    """Write these records that are not stored, and return the rows of those that there are.

    A message that is something else here than it is in Patchwork has none: its numbers lead to it.
    """
    originals = _read_originals(connection, [item.original_id for item in items])
    known = _read_known(connection, [item.record.row_id for item in items])
    written = [
        item
        for item in items
        if item.record.row_id not in known
        and item.original_id in originals
        and originals[item.original_id]["outcome"] == OUTCOMES[item.record.kind]
    ]
    if written:
        insert_rows(
            connection,
            schema.message,
            [_message(item, originals[item.original_id]) for item in written],
        )
        _copy_content(connection, written)
        insert_rows(
            connection,
            schema.comment,
            [
                {"message_id": item.record.row_id, "parent_id": item.parent_id}
                for item in written
                if OUTCOMES[item.record.kind] is Outcome.COMMENT
            ],
        )
        insert_rows(
            connection,
            schema.list_record,
            [
                {
                    "message_id": item.record.row_id,
                    "list_id": item.list_id,
                    "original_id": item.original_id,
                }
                for item in written
            ],
        )
        _write_postings(connection, written)
    return known | {item.record.row_id for item in written}


def _read_originals(connection: Connection, ids: Iterable[int]) -> dict[int, Mapping[str, Any]]:
    table = schema.message
    rows: dict[int, Mapping[str, Any]] = {}
    for chunk in chunks(ids):
        found = connection.execute(select(table).where(is_any(table.c.id, chunk))).mappings()
        rows.update((row["id"], dict(row)) for row in found)
    return rows


def _read_known(connection: Connection, ids: Iterable[int]) -> set[int]:
    table = schema.list_record.c
    known: set[int] = set()
    for chunk in chunks(ids):
        query = select(table.message_id).where(is_any(table.message_id, chunk))
        known.update(connection.execute(query).scalars())
    return known


def _message(item: FurtherRecord, original: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **original,
        "id": item.record.row_id,
        "variant": variant_of(item.list_id),
        # A thread of which no Message-ID is: arranging the mails does not reach it.
        "thread_id": -original["thread_id"],
        "bucket": None,
    }


def _copy_content(connection: Connection, items: Collection[FurtherRecord]) -> None:
    """Copy what the messages have in other tables."""
    rows_of: dict[int, list[int]] = {}
    for item in items:
        rows_of.setdefault(item.original_id, []).append(item.record.row_id)
    for table in _COPIED:
        for chunk in chunks(rows_of):
            query = select(table).where(is_any(table.c.message_id, chunk))
            copies = [
                {**row, "message_id": row_id, **_unset(table)}
                for row in connection.execute(query).mappings()
                for row_id in rows_of[row["message_id"]]
            ]
            insert_rows(connection, table, copies)


def _unset(table: Table) -> dict[str, Any]:
    """Return the columns that are not of the mail."""
    if table is not schema.patch:
        return {}
    return {
        "derived_state": None,
        "derived_commit_ref": None,
        "derived_delegate": None,
        "maintainers": None,
        "current_state": None,
        "archived": False,
        "commit_ref": None,
        "delegate_id": None,
    }


def _write_postings(connection: Connection, items: Collection[FurtherRecord]) -> None:
    """Make the postings of the messages' mails to these lists name the records there."""
    copy, posting = schema.copy.c, schema.posting
    by_original: dict[int, list[FurtherRecord]] = {}
    for item in items:
        by_original.setdefault(item.original_id, []).append(item)
    for chunk in chunks(by_original):
        query = select(copy.mail_id, copy.message_id).where(is_any(copy.message_id, chunk))
        rows = [
            {
                "mail_id": row.mail_id,
                "list_id": item.list_id,
                "message_id": item.record.row_id,
            }
            for row in connection.execute(query)
            for item in by_original[row.message_id]
        ]
        mail_ids = {row["mail_id"] for row in rows}
        query = select(posting.c.mail_id, posting.c.list_id).where(
            is_any(posting.c.mail_id, mail_ids)
        )
        named = {tuple(row) for row in connection.execute(query)}
        for row in rows:
            if (row["mail_id"], row["list_id"]) in named:
                is_own = (posting.c.mail_id == row["mail_id"], posting.c.list_id == row["list_id"])
                connection.execute(posting.delete().where(*is_own))
        insert_rows(connection, posting, rows)


@frozen
class FurtherSeries:
    """A series of which the patches are records on a further list, in its order."""

    row: PatchworkSeries
    cover_id: int | None
    patches: Sequence[int]


def write_further_series(connection: Connection, items: Sequence[FurtherSeries]) -> None:
    """Write these series as Patchwork has them; those that are stored get what is new of them."""
    ids = [item.row.number for item in items]
    member, series = schema.member, schema.series
    messages = _read_originals(
        connection,
        [
            row_id
            for item in items
            for row_id in (*item.patches, *([item.cover_id] if item.cover_id is not None else []))
        ],
    )
    for chunk in chunks(ids):
        connection.execute(member.delete().where(is_any(member.c.series_id, chunk)))
        connection.execute(series.delete().where(is_any(series.c.id, chunk)))
    rows = [_series(item, messages) for item in items if item.patches or item.cover_id]
    insert_rows(connection, series, rows)
    insert_rows(connection, member, [row for item in items for row in _members(item)])
    sync_listing(connection, message_ids=list(messages), series_ids=ids)


def _series(item: FurtherSeries, messages: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    row = item.row
    first = messages[item.cover_id if item.cover_id is not None else item.patches[0]]
    return {
        "id": row.number,
        "key": f"{first['msgid']}#{first['variant']}",
        "name": row.name,
        "version": row.version,
        "version_minor": 0,
        "total": max(row.total, 1),
        "received_total": len(item.patches),
        "received_all": len(item.patches) >= row.total,
        "date": row.date,
        "person_id": first["person_id"],
        "cover_id": item.cover_id,
        "partial": False,
        "parent_series": None,
        "thread_id": first["thread_id"],
        "fast_path_ok": False,
        "loose_crowd": False,
    }


def _members(item: FurtherSeries) -> list[dict[str, Any]]:
    numbered: list[tuple[int, int | None]] = [
        (message_id, number) for number, message_id in enumerate(item.patches, 1)
    ]
    if item.cover_id is not None:
        numbered.insert(0, (item.cover_id, None))
    return [
        {
            "message_id": message_id,
            "series_id": item.row.number,
            "number": number,
            "minor": 0,
            "rule": "first",
            "evidence": "imported from Patchwork",
        }
        for message_id, number in numbered
    ]
