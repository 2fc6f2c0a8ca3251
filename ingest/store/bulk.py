"""Many rows at a time: numbers for them, their insertion, and lists of keys in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

# Both databases bound the parameters of a statement (SQLite: 32,766; PostgreSQL: 65,535).
_CHUNK = 5_000

T = TypeVar("T")


def chunks(keys: Iterable[T]) -> Iterator[list[T]]:
    """The keys in lists that one `IN (…)` may hold."""
    some = list(keys)
    for start in range(0, len(some), _CHUNK):
        yield some[start : start + _CHUNK]


def allocate(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Fresh ids for `count` rows, so that rows that refer to each other go in as plain batches.

    PostgreSQL takes them from the table's sequence; SQLite has one writer, who may count on
    from the highest.
    """
    if count == 0:
        return ()
    if connection.dialect.name == "postgresql":
        numbers = connection.execute(
            text(
                "SELECT nextval(pg_get_serial_sequence(:table, 'id'))"
                " FROM generate_series(1, :count)"
            ),
            {"table": f'"{table.name}"', "count": count},
        )
        return list(numbers.scalars())
    highest = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
    return range(highest + 1, highest + 1 + count)


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if rows:
        connection.execute(insert(table).inline(), rows)


def insert_new(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], unique: str
) -> None:
    """Insert rows that another transaction may be inserting too: theirs stand.

    The rows go in by the order of the unique column, as everybody's do, so that two who insert
    the same ones wait for each other in one direction only.
    """
    if rows:
        dialect = connection.dialect.name
        make = postgresql.insert if dialect == "postgresql" else sqlite.insert
        statement = make(table).on_conflict_do_nothing(index_elements=[unique]).inline()
        connection.execute(statement, sorted(rows, key=lambda row: row[unique]))


def insert_new_pairs(
    connection: Connection, table: Table, pairs: Sequence[tuple[int, int]]
) -> None:
    """Insert rows of a table of two columns that are its key; those that are there stand."""
    if pairs:
        first, second = (column.name for column in table.columns)
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(
            make(table).on_conflict_do_nothing().inline(),
            [{first: one, second: other} for one, other in pairs],
        )
