"""Numbers that clients hold: they stay, whatever becomes of the rows that had them.

A series is named by its cover, else by its first patch, so a late cover renames it; late mail
also joins series and parts them. Its number goes with its members: a series under a new name
takes the number that its members had, one that was joined into another leaves its number as a
signpost to that (the API answers 301), and one that is parted off again under its old name
takes its own number back. Numbers are never used for something else.

Input: what is stored and what is wanted, of whole sets. Output: a number for each series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql import allocate, chunks, is_any


@frozen
class NumberedSeries:
    """`ids`: of the series without a row of their name, by key; `taken`: those among them that
    take over the row of a series that goes, which is renamed.
    """

    ids: dict[str, int]
    taken: frozenset[str]


def number_series(
    connection: Connection,
    missing: Sequence[str],
    going: Mapping[int, str],
    *,
    before: Mapping[int, int],
    after: Mapping[int, str],
) -> NumberedSeries:
    """Numbers for series that have no row under their key.

    `going`: keys of the rows, by number, whose series are no more; `before` and `after`: the
    number of the row that a message was in, and the key of the series that it belongs to now.
    """
    if not missing:
        return NumberedSeries({}, frozenset())
    ids = _back(connection, missing)
    shared = Counter(
        (after[message_id], row_id)
        for message_id, row_id in before.items()
        if row_id in going and message_id in after
    )
    taken: dict[str, int] = {}
    wanted = set(missing) - ids.keys()
    # The most members decide, then the older number: nothing of it may depend on a dict's order.
    for (key, row_id), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0][::-1])):
        if key in wanted and key not in taken and row_id not in taken.values():
            taken[key] = row_id
    fresh = [key for key in missing if key not in ids and key not in taken]
    # Before their signposts go: else the highest of those that come back would be given twice.
    numbers = allocate_unused(connection, schema.series, len(fresh))
    _take_down(connection, ids.values())
    return NumberedSeries(ids | taken | dict(zip(fresh, numbers, strict=True)), frozenset(taken))


def add_redirects(
    connection: Connection, kind: str, gone: Mapping[int, tuple[str, int | None]]
) -> None:
    """Put signposts for numbers whose rows go: their key, and the number of what has taken
    their place. Signposts that named one of them are turned to that too.
    """
    table = schema.redirect
    for number, (key, to) in gone.items():
        connection.execute(
            update(table).where(table.c.kind == kind, table.c.to_id == number).values(to_id=to)
        )
        connection.execute(insert(table).values(kind=kind, id=number, key=key, to_id=to))


def resolve_redirect(connection: Connection, kind: str, number: int) -> int | None:
    """The number of what has taken the place of a row that is gone."""
    table = schema.redirect.c
    query = select(table.to_id).where(table.kind == kind, table.id == number)
    return connection.execute(query).scalar_one_or_none()


def allocate_unused(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """`allocate`, and no number that a row had before: SQLite would give the highest again."""
    if count == 0 or connection.dialect.name == "postgresql":
        return allocate(connection, table, count)
    gone = schema.redirect.c
    highest = connection.execute(
        select(
            func.max(
                select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery(),
                select(func.coalesce(func.max(gone.id), 0))
                .where(gone.kind == table.name)
                .scalar_subquery(),
            )
        )
    ).scalar_one()
    return range(highest + 1, highest + 1 + count)


def successors(
    going: Iterable[int], *, before: Mapping[int, int], after: Mapping[int, int]
) -> dict[int, int | None]:
    """Where most of the members of rows that go belong now, None where there are none."""
    votes: dict[int, Counter[int]] = {row_id: Counter() for row_id in going}
    for message_id, row_id in before.items():
        if row_id in votes and message_id in after:
            votes[row_id][after[message_id]] += 1
    return {
        row_id: max(some, key=lambda one: (some[one], -one)) if some else None
        for row_id, some in votes.items()
    }


def _back(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """Numbers that go back to series of these names."""
    table = schema.redirect.c
    found: dict[str, int] = {}
    for some in chunks(keys):
        query = select(table.key, func.min(table.id).label("id")).where(
            table.kind == "series", is_any(table.key, some)
        )
        found |= {row.key: row.id for row in connection.execute(query.group_by(table.key))}
    return found


def _take_down(connection: Connection, numbers: Iterable[int]) -> None:
    """Remove signposts: the series are there again."""
    table = schema.redirect
    for some in chunks(numbers):
        connection.execute(delete(table).where(table.c.kind == "series", is_any(table.c.id, some)))
