"""Read series and their members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.mail.message import Address
from ingest.store import schema
from ingest.store.sql.collation import stream_sorted
from ingest.store.sql.key_lists import chunks, is_any


@frozen(kw_only=True)
class SeriesRow:
    """A series with its submitter."""

    id: int
    key: str
    name: str | None
    version: int
    version_minor: int
    total: int
    received_total: int
    received_all: bool
    date: datetime | None
    person_id: int
    submitter: Address
    cover_id: int | None
    partial: bool
    parent_series: str | None


def stream_series(connection: Connection) -> Iterator[list[SeriesRow]]:
    """Yield all series in batches, sorted by key, without those of records on further lists."""
    series = schema.series.c
    query = select(series.id, series.key).where(series.thread_id >= 0)
    for rows in stream_sorted(connection, query, series.key):
        yield read_series(connection, [row.id for row in rows])


def read_series(connection: Connection, ids: Iterable[int]) -> list[SeriesRow]:
    """Return the series with these ids, sorted by key within each chunk of ids."""
    rows: list[SeriesRow] = []
    for chunk in chunks(ids):
        rows += _select_series(connection, is_any(schema.series.c.id, chunk))
    return rows


def _select_series(connection: Connection, *conditions: Any) -> list[SeriesRow]:
    series, person = schema.series.c, schema.person.c
    query = (
        select(schema.series, person.name.label("person_name"), person.email)
        .join(schema.person, person.id == series.person_id)
        .where(*conditions)
    )
    rows = [
        SeriesRow(
            id=row.id,
            key=row.key,
            name=row.name,
            version=row.version,
            version_minor=row.version_minor,
            total=row.total,
            received_total=row.received_total,
            received_all=row.received_all,
            date=row.date,
            person_id=row.person_id,
            submitter=Address(row.person_name, row.email),
            cover_id=row.cover_id,
            partial=row.partial,
            parent_series=row.parent_series,
        )
        for row in connection.execute(query)
    ]
    # Sorted here: databases do not agree on the order of text.
    return sorted(rows, key=lambda row: row.key)


def read_members(connection: Connection, series_ids: Iterable[int]) -> dict[int, list[int]]:
    """Return the message ids of the patches of series, by series, in the order of their numbers."""
    member = schema.member.c
    columns = select(member.series_id, member.number, member.minor, member.message_id)
    members: dict[int, list[Any]] = defaultdict(list)
    for chunk in chunks(series_ids):
        query = columns.where(is_any(member.series_id, chunk), member.number.is_not(None))
        for row in connection.execute(query):
            members[row.series_id].append(row)
    return {
        series_id: [
            row.message_id
            for row in sorted(rows, key=lambda row: (row.number, row.minor, row.message_id))
        ]
        for series_id, rows in members.items()
    }
