"""Read series, their members, and the newest of them."""

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


def series_where(connection: Connection, *conditions: Any) -> list[SeriesRow]:
    """The series that meet conditions on the `series` table, by key."""
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
    return sorted(rows, key=lambda row: row.key)


def read_members(connection: Connection, series_ids: Iterable[int]) -> dict[int, list[int]]:
    """The patches (message ids) of series, in number order, by series."""
    member = schema.member.c
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for some in chunks(series_ids):
        query = select(member.series_id, member.number, member.minor, member.message_id)
        for row in connection.execute(
            query.where(is_any(member.series_id, some), member.number.is_not(None))
        ):
            found[row.series_id].append((row.number, row.minor, row.message_id))
    return {one: [row[2] for row in sorted(rows)] for one, rows in found.items()}


def series_by_id(connection: Connection, ids: Iterable[int]) -> list[SeriesRow]:
    """The series with these ids, by key."""
    rows: list[SeriesRow] = []
    for some in chunks(ids):
        rows += series_where(connection, is_any(schema.series.c.id, some))
    return rows


def newest_series(
    connection: Connection, *, list_ids: Collection[str] | None, incomplete: bool, limit: int
) -> list[int]:
    """The ids of series, the newest first. `list_ids`: of these lists only; None for all."""
    series, member, posting = schema.series.c, schema.member.c, schema.posting.c
    query = select(series.id).order_by(series.date.desc().nulls_last(), series.id.desc())
    if incomplete:
        query = query.where(series.received_all.is_(False))
    if list_ids is not None:
        list_ = schema.list_.c
        named = (
            select(member.series_id)
            .join(schema.posting, posting.message_id == member.message_id)
            .join(schema.list_, list_.id == posting.list_id)
            .where(list_.list_id.in_(list_ids))
        )
        query = query.where(series.id.in_(named))
    return list(connection.execute(query.limit(limit)).scalars())
