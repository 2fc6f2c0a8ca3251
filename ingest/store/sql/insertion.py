"""Insert many rows at a time: allocate their ids, insert them, leave out those that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, DateTime, Insert, Table, TextClause, bindparam, insert, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from ingest.store.schema.base import format_sqlite_time

# Number of rows from which the bulk insertion is worth its own round trip.
_BULK = 20


def allocate_ids(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Allocate new ids for `count` rows, so that rows with references are inserted in batches.

    PostgreSQL takes them from the table's sequence. SQLite has one writer, which may count on
    from the highest id.
    """
    if count == 0:
        return ()
    if connection.dialect.name == "postgresql":
        numbers = connection.execute(
            text(
                # OFFSET makes PostgreSQL look the sequence up once. For each row it would take
                # eight times as long.
                "SELECT nextval(own) FROM generate_series(1, :count), (SELECT"
                " CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS own OFFSET 0) AS named"
            ),
            {"table": f'"{table.name}"', "count": count},
        )
        return list(numbers.scalars())
    highest = connection.execute(_highest_id(table)).scalar_one()
    return range(highest + 1, highest + 1 + count)


@cache
def _highest_id(table: Table) -> TextClause:
    return text(f'SELECT coalesce(max(id), 0) FROM "{table.name}"')  # noqa: S608 - our own name


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns.

    Many rows bypass SQLAlchemy, which takes longer to look at each value than the database takes
    to store it: PostgreSQL gets them through COPY, SQLite as one prepared statement.
    """
    if len(rows) < _BULK:
        if rows:
            connection.execute(_insertion(table), rows)
        return
    names = tuple(rows[0])
    values: Iterable[tuple[Any, ...]] = map(itemgetter(*names), rows)
    if len(names) == 1:
        values = ((value,) for value in values)
    with _sqlalchemy_errors(connection, table):
        if connection.dialect.name == "postgresql":
            _copy(connection, table, names, values)
        else:
            _insert_prepared(connection, table, names, values)


@cache
def _insertion(table: Table) -> Insert:
    return insert(table).inline()


@contextmanager
def _sqlalchemy_errors(connection: Connection, table: Table) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy's: callers do not know the driver."""
    dialect = connection.dialect
    dbapi: Any = dialect.loaded_dbapi
    try:
        yield
    except dbapi.Error as error:
        statement = f"insert many rows into {table.name}"
        raise DBAPIError.instance(statement, None, error, dbapi.Error, dialect=dialect) from error


def try_insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> bool:
    """Insert rows as `insert_rows` does. Returns False if no row was inserted.

    That is the case if another transaction has inserted one of them since it was looked up (not
    in SQLite, which has one writer), and if they are too few for a savepoint.
    """
    if connection.dialect.name != "postgresql":
        insert_rows(connection, table, rows)
        return True
    if len(rows) < _BULK:
        return False
    from psycopg.errors import UniqueViolation

    try:
        with connection.begin_nested():
            insert_rows(connection, table, rows)
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation):
            return False
        raise
    return True


def _copy(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert rows by binary COPY, for which neither side escapes or parses text."""
    dialect = connection.dialect
    types = [table.c[name].type.dialect_impl(dialect).compile(dialect) for name in names]
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {_columns(table, names)} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([type_name.split("(")[0].lower() for type_name in types])
        for row in rows:
            copy.write_row(row)


def _insert_prepared(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    marks = ", ".join("?" * len(names))
    for index, name in enumerate(names):
        column_type = table.c[name].type
        # sqlite3 would do so too, but Python 3.12 has deprecated that.
        process = (
            format_sqlite_time
            if isinstance(column_type, DateTime)
            else column_type.bind_processor(connection.dialect)
        )
        if process is not None:
            rows = _processed(rows, index, process)
    statement = f"INSERT INTO {_columns(table, names)} VALUES ({marks})"  # noqa: S608 - our names
    cursor: Any = connection.connection.cursor()  # takes any iterable, whatever its type says
    cursor.executemany(statement, rows)


def _processed(
    rows: Iterable[tuple[Any, ...]], index: int, process: Callable[[Any], Any]
) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield (*row[:index], process(row[index]), *row[index + 1 :])


def _columns(table: Table, names: Sequence[str]) -> str:
    return f'"{table.name}" ({", ".join(names)})'


def dialect_insert(connection: Connection, table: Table) -> Any:
    """Return an INSERT to which ON CONFLICT can be added: each database has its own."""
    if connection.dialect.name == "postgresql":
        # Imported here: it takes an eighth of the time of `ingest show` on SQLite.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], unique: str
) -> None:
    """Insert rows unless another transaction has inserted rows with the same unique column.

    The rows are inserted in the order of the unique column, by every process. So two transactions
    with the same rows wait for each other in one direction only, and cannot deadlock.
    """
    if rows:
        statement = _missing_insertion(table, tuple(rows[0]), unique)
        connection.execute(statement, sorted(rows, key=lambda row: row[unique]))


@cache
def _missing_insertion(table: Table, names: tuple[str, ...], unique: str = "") -> TextClause:
    """Return the statement that inserts a row unless another one conflicts with it.

    It is a text, which both databases understand: SQLAlchemy would compile it each time.
    """
    values = ", ".join(f":{name}" for name in names)
    target = f" ({unique})" if unique else ""
    statement = (
        f"INSERT INTO {_columns(table, names)} VALUES ({values})"  # noqa: S608 - our names
        f" ON CONFLICT{target} DO NOTHING"
    )
    return text(statement).bindparams(
        *(bindparam(name, type_=table.c[name].type) for name in names)
    )


def insert_missing_pairs(
    connection: Connection, table: Table, pairs: Sequence[tuple[int, int]]
) -> None:
    """Insert rows into a table of two columns that are its key, except those that it has."""
    if pairs:
        first, second = (column.name for column in table.columns)
        connection.execute(
            _missing_insertion(table, (first, second)),
            [{first: key, second: other_key} for key, other_key in pairs],
        )
