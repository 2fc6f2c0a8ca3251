"""Read series, their members, and the newest series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.mail.message import Address
from ingest.store import schema
from ingest.store.sql import chunks, is_any


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


def read_all_series(connection: Connection) -> list[SeriesRow]:
    """Return all series, sorted by key."""
    return _select_series(connection)


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


def find_newest_series(
    connection: Connection, *, list_ids: Collection[str] | None, incomplete: bool, limit: int
) -> list[int]:
    """Return the ids of at most `limit` series, the newest first.

    `list_ids` restricts them to series of these lists, unless it is None. `incomplete` restricts
    them to series of which patches are missing.
    """
    series, member, posting = schema.series.c, schema.member.c, schema.posting.c
    query = select(series.id).order_by(series.date.desc().nulls_last(), series.id.desc())
    if incomplete:
        query = query.where(series.received_all.is_(False))
    if list_ids is not None:
        list_ = schema.list_.c
        in_lists = (
            select(member.series_id)
            .join(schema.posting, posting.message_id == member.message_id)
            .join(schema.list_, list_.id == posting.list_id)
            .where(list_.list_id.in_(list_ids))
        )
        query = query.where(series.id.in_(in_lists))
    return list(connection.execute(query.limit(limit)).scalars())
