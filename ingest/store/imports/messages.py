"""Reserve the rows of messages and series of a Patchwork site, and see what became of them.

A reservation is a redirect without a target: the message or series that is stored under its key
takes the number. Where none does, the number leads to what has taken its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.imports.ledger import NOT_APPLIED, Entry, read_entries, write_entries
from ingest.store.site.numbers import NumberKind, imported_row
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class Record:
    """A patch, cover or comment of Patchwork, and the Message-ID of its mail."""

    kind: NumberKind
    number: int
    msgid: str

    @property
    def row_id(self) -> int:
        """The row that its message has, unless it is something else here."""
        return imported_row(self.kind, self.number)


def reserve_messages(connection: Connection, records: Collection[Record]) -> None:
    """Reserve the rows of these messages that are not stored."""
    known = read_owners(connection, [record.msgid for record in records])
    _reserve(
        connection,
        "message",
        {record.row_id: record.msgid for record in records},
        targets={record.row_id: known[record.msgid] for record in records if record.msgid in known},
    )


def reserve_series(connection: Connection, keys: Mapping[int, str]) -> None:
    """Reserve the numbers of these series that have no row, by the key of each."""
    table = schema.series.c
    known: dict[str, int] = {}
    for chunk in chunks(keys.values()):
        query = select(table.id, table.key).where(is_any(table.key, chunk))
        known.update((row.key, row.id) for row in connection.execute(query))
    _reserve(
        connection,
        "series",
        dict(keys),
        targets={number: known[key] for number, key in keys.items() if key in known},
    )


def _reserve(
    connection: Connection, kind: str, keys: Mapping[int, str], *, targets: Mapping[int, int]
) -> None:
    """Add redirects from these numbers, unless they have a row or a redirect."""
    redirect = schema.redirect.c
    own = schema.message.c.id if kind == "message" else schema.series.c.id
    taken: set[int] = set()
    for chunk in chunks(keys):
        taken.update(connection.execute(select(own).where(is_any(own, chunk))).scalars())
        query = select(redirect.id).where(redirect.kind == kind, is_any(redirect.id, chunk))
        taken.update(connection.execute(query).scalars())
    insert_rows(
        connection,
        schema.redirect,
        [
            {"kind": kind, "id": number, "key": key, "to_id": targets.get(number)}
            for number, key in sorted(keys.items())
            if number not in taken
        ],
    )


def read_owners(connection: Connection, msgids: Iterable[str]) -> dict[str, int]:
    """Return the rows of the messages that own these ids, by id."""
    message = schema.message.c
    rows: dict[str, int] = {}
    for chunk in chunks(msgids):
        query = select(message.msgid, message.id).where(
            is_any(message.msgid, chunk), message.variant == ""
        )
        rows.update((row.msgid, row.id) for row in connection.execute(query))
    return rows


def enter_messages(connection: Connection, records: Collection[Record]) -> None:
    """Enter what these records became, after their mail was stored.

    A record that is something else here leads to it.
    """
    rows = read_owners(connection, [record.msgid for record in records])
    lost = {
        record.row_id: rows[record.msgid]
        for record in records
        if rows.get(record.msgid, record.row_id) != record.row_id
    }
    for row_id, to_id in sorted(lost.items()):
        table = schema.redirect
        connection.execute(
            update(table)
            .where(table.c.kind == "message", table.c.id == row_id, table.c.to_id.is_(None))
            .values(to_id=to_id)
        )
    for kind in {record.kind for record in records}:
        own = [record for record in records if record.kind is kind]
        known = read_entries(connection, kind, [record.number for record in own])
        write_entries(
            connection,
            kind,
            {
                record.number: Entry(
                    rows.get(record.msgid),
                    known[record.number].digest if record.number in known else NOT_APPLIED,
                )
                for record in own
            },
        )


@frozen
class SeriesMembers:
    """A series of Patchwork by the rows of its patches here, and by that of its cover."""

    number: int
    patches: Sequence[int]
    cover: int | None


def resolve_series(
    connection: Connection, items: Collection[SeriesMembers]
) -> dict[int, int | None]:
    """Return the series to which the numbers of Patchwork's lead: their own, or another one.

    That is the series that most of its patches are in. Its number is redirected there.
    """
    table, redirect = schema.series.c, schema.redirect
    stored: set[int] = set()
    for chunk in chunks([item.number for item in items]):
        stored.update(connection.execute(select(table.id).where(is_any(table.id, chunk))).scalars())
    series_of = _read_series_of(
        connection,
        {
            row_id
            for item in items
            if item.number not in stored
            for row_id in (*item.patches, *([item.cover] if item.cover is not None else []))
        },
    )
    result: dict[int, int | None] = {}
    for item in items:
        if item.number in stored:
            result[item.number] = item.number
            continue
        members = [*item.patches, *([item.cover] if item.cover is not None else [])]
        votes = Counter(series_of[row_id] for row_id in members if row_id in series_of)
        target = min(votes, key=lambda series_id: (-votes[series_id], series_id), default=None)
        result[item.number] = target
        connection.execute(
            update(redirect)
            .where(redirect.c.kind == "series", redirect.c.id == item.number)
            .values(to_id=target)
        )
    return result


def _read_series_of(connection: Connection, message_ids: Iterable[int]) -> dict[int, int]:
    member = schema.member.c
    series: dict[int, int] = {}
    for chunk in chunks(message_ids):
        query = select(member.message_id, member.series_id).where(is_any(member.message_id, chunk))
        series.update((row.message_id, row.series_id) for row in connection.execute(query))
    return series
