"""Keep the numbers that clients hold valid, whatever becomes of the rows that had them.

A series is named by its cover, else by its first patch, so a late cover renames it; late mail
also joins and splits series. The number of a series follows its members: a series under a new key
takes the number that its members had; a series that was joined into another leaves its number as
a redirect to that one (the API answers 301); and a series that is split off again under its old
key takes its own number back. A number is never used for something else.

Input: what is stored and what is wanted, of whole sets. Output: a number for each series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, delete, func, insert, select, update

from ingest.frozen import frozen
from ingest.series.facts import MessageKind
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.site.numbers import NumberKind, imported_kind
from ingest.store.sql.insertion import allocate_ids
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class NumberedSeries:
    """The numbers of series that have no row under their key.

    `ids`: the numbers, by key; `taken`: those keys that take over the row of a series that is no
    more; the row gets the new key.
    """

    ids: dict[str, int]
    taken: frozenset[str]


def number_series(
    connection: Connection,
    missing: Sequence[str],
    obsolete: Mapping[int, str],
    *,
    before: Mapping[int, int],
    after: Mapping[int, str],
) -> NumberedSeries:
    """Give numbers to the series whose keys have no row.

    `missing`: their keys. `obsolete`: the keys of the rows, by number, whose series are no more.
    `before` and `after`, by message: the number of the row that it was in, and the key of the
    series that it belongs to now.
    """
    if not missing:
        return NumberedSeries({}, frozenset())
    ids = _find_former_numbers(connection, missing)
    shared = Counter(
        (after[message_id], row_id)
        for message_id, row_id in before.items()
        if row_id in obsolete and message_id in after
    )
    taken: dict[str, int] = {}
    unnumbered = set(missing) - ids.keys()
    # The most members decide, then the older number: nothing may depend on the order of a dict.
    for (key, row_id), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0][::-1])):
        if key in unnumbered and key not in taken and row_id not in taken.values():
            taken[key] = row_id
    new_keys = [key for key in missing if key not in ids and key not in taken]
    # Before the redirects are deleted: the highest of the numbers that are taken back would
    # otherwise be allocated again.
    numbers = allocate_unused_ids(connection, schema.series, len(new_keys))
    _delete_redirects(connection, ids.values())
    new_ids = dict(zip(new_keys, numbers, strict=True))
    return NumberedSeries(ids | taken | new_ids, frozenset(taken))


def add_redirects(
    connection: Connection, kind: str, removed: Mapping[int, tuple[str, int | None]]
) -> None:
    """Add redirects for the numbers of rows that are deleted, and update those that name them.

    `kind`: 'series' or 'message'. `removed`: by number, the key of the row and the number of the
    row that takes its place, None where there is none.
    """
    table = schema.redirect
    for number, (key, successor) in removed.items():
        connection.execute(
            update(table)
            .where(table.c.kind == kind, table.c.to_id == number)
            .values(to_id=successor)
        )
        connection.execute(insert(table).values(kind=kind, id=number, key=key, to_id=successor))


def resolve_redirect(connection: Connection, kind: str, number: int) -> int | None:
    """Return the number of the row that took the place of a deleted one, None if there is none."""
    table = schema.redirect.c
    query = select(table.to_id).where(table.kind == kind, table.id == number)
    return connection.execute(query).scalar_one_or_none()


def allocate_unused_ids(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Allocate ids as `allocate_ids` does, and none that a deleted row had or that is reserved.

    SQLite would otherwise allocate the highest number again.
    """
    if count == 0 or connection.dialect.name == "postgresql":
        return allocate_ids(connection, table, count)
    highest = connection.execute(_highest_id(table)).scalar_one()
    return range(highest + 1, highest + 1 + count)


@cache
def _highest_id(table: Table) -> Select[Any]:
    """Return the query for the highest id that a row of a table has, had or may get, in SQLite."""
    redirect, reserved = schema.redirect.c, schema.reserved_number.c
    return select(
        func.max(
            select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery(),
            select(func.coalesce(func.max(redirect.id), 0))
            .where(redirect.kind == table.name)
            .scalar_subquery(),
            select(func.coalesce(func.max(reserved.highest), 0))
            .where(reserved.kind == table.name)
            .scalar_subquery(),
        )
    )


def find_reserved_rows(connection: Connection, kinds: Mapping[str, MessageKind]) -> dict[str, int]:
    """Return the rows that are reserved for messages, by key.

    `kinds`: what new messages are by their mail, by key. One that is not what it was in Patchwork
    does not get its number, which another message may have here.
    """
    rows: dict[str, int] = {}
    for row in _RESERVED_ROWS.rows(connection, kinds):
        imported = imported_kind(row.id)
        if imported is None or kinds[row.key] in _KINDS[imported]:
            rows[row.key] = row.id
    return rows


_REDIRECT = schema.redirect.c
_RESERVED_ROWS = KeyedQuery(
    select(_REDIRECT.key, _REDIRECT.id).where(
        _REDIRECT.kind == "message", _REDIRECT.to_id.is_(None)
    ),
    _REDIRECT.key,
)
_REPLIES = (MessageKind.REPLY, MessageKind.OTHER)
_PATCHES = (MessageKind.PATCH, MessageKind.PULL)
_KINDS = {
    NumberKind.PATCH: _PATCHES,
    NumberKind.COVER: (MessageKind.COVER,),
    NumberKind.PATCH_COMMENT: _REPLIES,
    NumberKind.COVER_COMMENT: _REPLIES,
}


def delete_reservations(connection: Connection, message_ids: Iterable[int]) -> None:
    """Delete the reservations of rows that have their messages now."""
    table = schema.redirect
    for chunk in chunks(message_ids):
        is_own = (table.c.kind == "message", is_any(table.c.id, chunk))
        connection.execute(delete(table).where(*is_own))


def find_successors(
    removed: Iterable[int], *, before: Mapping[int, int], after: Mapping[int, int]
) -> dict[int, int | None]:
    """Find the row that most members of each removed row belong to now, None where there is none.

    `before` and `after`: the row that each member belonged to, and the one that it belongs to.
    """
    votes: dict[int, Counter[int]] = {row_id: Counter() for row_id in removed}
    for member, row_id in before.items():
        if row_id in votes and member in after:
            votes[row_id][after[member]] += 1
    return {
        row_id: max(counter, key=lambda successor: (counter[successor], -successor))
        if counter
        else None
        for row_id, counter in votes.items()
    }


def _find_former_numbers(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """Find the numbers that series with these keys had before they were deleted."""
    return {row.key: row.id for row in _FORMER_NUMBERS.rows(connection, keys)}


_FORMER_NUMBERS = KeyedQuery(
    select(_REDIRECT.key, func.min(_REDIRECT.id).label("id"))
    .where(_REDIRECT.kind == "series")
    .group_by(_REDIRECT.key),
    _REDIRECT.key,
)


def _delete_redirects(connection: Connection, numbers: Iterable[int]) -> None:
    """Delete the redirects of series that exist again."""
    table = schema.redirect
    for chunk in chunks(numbers):
        connection.execute(delete(table).where(table.c.kind == "series", is_any(table.c.id, chunk)))
