"""Help with many rows at a time: allocate their ids, insert and compare them, query by long lists.

Nothing here knows the tables of the schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Insert,
    Join,
    Select,
    String,
    Table,
    TableClause,
    Text,
    TextClause,
    TypeDecorator,
    bindparam,
    delete,
    func,
    insert,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

from ingest.frozen import frozen
from ingest.store.schema.base import format_sqlite_time

# Both databases limit the parameters of a statement (SQLite: 32,766; PostgreSQL: 65,535).
_CHUNK = 5_000

# Number of rows from which the bulk insertion is worth its own round trip.
_BULK = 20

T = TypeVar("T")


def chunks(keys: Iterable[T], *, size: int = _CHUNK) -> Iterator[list[T]]:
    """Split keys into lists that one `IN (…)` may hold. Yields nothing if there are none."""
    all_keys = list(keys)
    for start in range(0, len(all_keys), size):
        yield all_keys[start : start + size]


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Split rows that arrive one by one into lists as `chunks` does, with one in memory."""
    source = iter(rows)
    while batch := list(islice(source, _CHUNK)):
        yield batch


class is_any(FunctionElement[bool]):  # noqa: N801 - it is written as SQLAlchemy's functions are
    """Compare a column with a list of numbers or texts: `is_any(column, keys)`.

    It means `column IN (…)`, but all keys are one parameter. With thousands of parameters,
    SQLAlchemy and the driver take longer over each than the database takes to find it.

    Where there are no keys, they are a parameter of the statement, called `name`. Such a statement
    can be kept: SQLAlchemy takes longer to make a statement and its cache key than to execute it.
    """

    inherit_cache = True
    type = Boolean()

    def __init__(
        self, column: ColumnElement[Any], keys: Iterable[Any] | None = None, *, name: str = "keys"
    ) -> None:
        kind = _list_type(column.type)
        given = bindparam(name, type_=kind) if keys is None else bindparam(None, list(keys), kind)
        super().__init__(column, given)

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - SQLAlchemy passes it
        """Return the element itself.

        SQLAlchemy would write `… = 1` for a truth value, and SQLite would read every row.
        """
        return self


class _Keys(TypeDecorator[list[Any]]):
    """An array in PostgreSQL, JSON in SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        # A key cut to the length of a VARCHAR would match a row that it does not equal.
        self.item = Text() if isinstance(item, String) else item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that the dialect has for a list of keys."""
        dialect_type = ARRAY(self.item) if dialect.name == "postgresql" else Text()
        return dialect.type_descriptor(dialect_type)

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        """Return the list as the driver takes it."""
        # (As text with a cast, an array would cost half as much to send, but PostgreSQL would
        # parse it again for each row that it compares: a cast of text is not a constant.)
        return value if dialect.name == "postgresql" else json.dumps(value, ensure_ascii=False)


@cache
def _list_type(item: TypeEngine[Any]) -> _Keys:
    """Return the type of a list of such items.

    It is one object for each type of a column: SQLAlchemy keeps on it what a statement's key needs.
    """
    return _Keys(item)


@compiles(is_any)
def _compile_is_any(element: is_any, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, keys = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({keys}))"  # noqa: S608 - compiled SQL


@compiles(is_any, "postgresql")
def _compile_is_any_postgresql(element: is_any, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, keys = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} = ANY ({keys})"


def read_values(
    connection: Connection, query: Select[Any], column: ColumnElement[Any], keys: Iterable[Any]
) -> set[Any]:
    """Return what a query of one column selects, where `column` is any of the keys."""
    values: set[Any] = set()
    for chunk in chunks(keys):
        # All at once: to iterate over a result fetches each row by itself.
        values.update(connection.execute(query.where(is_any(column, chunk))).scalars().all())
    return values


class InOrder(Join):
    """A join whose left side SQLite reads first. PostgreSQL decides by its statistics."""

    inherit_cache = True


@compiles(InOrder)
def _compile_in_order(element: InOrder, compiler: SQLCompiler, **kwargs: Any) -> str:
    sql: str = compiler.visit_join(element, **kwargs)  # type: ignore[no-untyped-call]
    return sql


@compiles(InOrder, "sqlite")
def _compile_in_order_sqlite(element: InOrder, compiler: SQLCompiler, **kwargs: Any) -> str:
    # SQLite's documentation: the tables of a CROSS JOIN are never reordered.
    assert element.onclause is not None
    sides = {**kwargs, "asfrom": True}
    left, right = (compiler.process(side, **sides) for side in (element.left, element.right))
    on = compiler.process(element.onclause, **{**kwargs, "asfrom": False})
    return f"{left} CROSS JOIN {right} ON {on}"


class CodePoints(FunctionElement[str]):
    """Text that is ordered by its code points, as Python orders it, whatever the locale is."""

    inherit_cache = True
    type = Text()


@compiles(CodePoints)
def _compile_code_points(element: CodePoints, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f'{compiler.process(element.clauses, **kwargs)} COLLATE "C"'


@compiles(CodePoints, "sqlite")
def _compile_code_points_sqlite(element: CodePoints, compiler: SQLCompiler, **kwargs: Any) -> str:
    return compiler.process(element.clauses, **kwargs)


# Rows that a stream has in memory.
_STREAMED = 500

# Locales in which PostgreSQL orders text by code points.
_CODE_POINT_LOCALES = ("C", "POSIX", "C.UTF-8", "C.utf8")


def stream_sorted(
    connection: Connection, query: Select[Any], *columns: ColumnElement[str]
) -> Iterator[Sequence[Any]]:
    """Yield the rows of a query in batches, in the order of these columns by code points.

    Databases do not agree on the order of text. SQLite's is that of code points, and so is that of
    PostgreSQL in some locales: there an index has the order. In others PostgreSQL sorts all rows,
    on disk if they are many. The caller must read to the end, or end the transaction.
    """
    order = list(columns)
    if connection.dialect.name == "postgresql" and not _orders_by_code_points(connection):
        order = [column.collate("C") for column in columns]
    rows = connection.execute(
        query.order_by(*order), execution_options={"yield_per": _STREAMED, "stream_results": True}
    )
    yield from rows.partitions()


def _orders_by_code_points(connection: Connection) -> bool:
    query = text(
        "SELECT datcollate, to_jsonb(d) ->> 'datlocprovider' AS provider"
        " FROM pg_database AS d WHERE datname = current_database()"
    )
    row = connection.execute(query).one()
    return row.datcollate in _CODE_POINT_LOCALES and row.provider in (None, "c", "b")


class IndexedBy(Join):
    """A table of which SQLite must use a certain index. PostgreSQL chooses by itself.

    It is a join only so that columns of the table can be selected from it. The name of the index is
    that of its right side, which is part of the key under which SQLAlchemy keeps a statement.
    """

    inherit_cache = True

    def __init__(self, indexed: Table, index: str) -> None:
        super().__init__(indexed, table(index), true())

    def self_group(self, against: OperatorType | None = None) -> Any:  # noqa: ARG002
        """Return this without parentheses, which databases do not accept around a table."""
        return self


@compiles(IndexedBy)
def _compile_indexed_by(element: IndexedBy, compiler: SQLCompiler, **kwargs: Any) -> str:
    sql: str = compiler.process(element.left, **{**kwargs, "asfrom": True})
    return sql


@compiles(IndexedBy, "sqlite")
def _compile_indexed_by_sqlite(element: IndexedBy, compiler: SQLCompiler, **kwargs: Any) -> str:
    left = compiler.process(element.left, **{**kwargs, "asfrom": True})
    assert isinstance(element.right, TableClause)
    return f"{left} INDEXED BY {element.right.name}"


def prefer_indexes(connection: Connection) -> None:
    """Make PostgreSQL find rows by their indexes until the transaction ends.

    For a thousand keys it would read whole tables as long as these are not much larger than
    that, and each batch would cost more than the one before.
    """
    if connection.dialect.name == "postgresql":
        off = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
        settings = [func.set_config(name, "off", True) for name in off]
        parallel = func.set_config("max_parallel_workers_per_gather", "0", True)
        connection.execute(select(*settings, parallel))


@contextmanager
def index_order(connection: Connection) -> Iterator[None]:
    """Make PostgreSQL read rows in the order of an index, and sort only what is equal there.

    Without statistics, or with old ones, it takes a table for small, and joins and sorts all of it
    for one page. Other queries of the transaction may have to sort: they are not changed.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    kinds = ("sort", "hashjoin", "mergejoin", "material", "bitmapscan", "seqscan")
    names = [f"enable_{kind}" for kind in kinds]
    connection.execute(select(*(func.set_config(name, "off", True) for name in names)))
    yield
    # Where the query fails, the transaction has ended.
    connection.execute(select(*(func.set_config(name, "on", True) for name in names)))


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


@frozen
class RowChanges:
    """The difference between the stored rows of some owners and those that are wanted.

    An owner is a value of the column `owner`. All rows of the owners in `stale` are to be
    deleted, and `rows` to be inserted. Owners whose rows are right are in neither.
    """

    table: Table
    owner: str
    stale: Sequence[int]
    rows: Sequence[dict[str, Any]]

    def delete_stale(self, connection: Connection) -> None:
        """Delete the rows of the owners in `stale`."""
        column = self.table.c[self.owner]
        for chunk in chunks(self.stale):
            connection.execute(delete(self.table).where(is_any(column, chunk)))

    def insert(self, connection: Connection) -> None:
        """Insert `rows`."""
        insert_rows(connection, self.table, self.rows)

    def write(self, connection: Connection) -> None:
        """Delete and insert, where nothing must be written in between."""
        self.delete_stale(connection)
        self.insert(connection)


def compare_rows(
    connection: Connection,
    table: Table,
    owner: str,
    owners: Collection[int],
    wanted: Sequence[dict[str, Any]],
) -> RowChanges:
    """Compare the stored rows of some owners with the rows that are wanted.

    `owner`: the column with the owner. `wanted` may have rows of further owners, for which no
    rows are stored. Columns that `wanted` does not name are not compared.

    To read a row costs a fraction of what it costs to delete it and to insert it again, with its
    entries in the indexes.
    """
    if not owners:
        return RowChanges(table, owner, (), wanted)
    names = tuple(wanted[0]) if wanted else (owner,)
    owner_index = names.index(owner)
    stored_rows: dict[int, set[tuple[Any, ...]]] = {}
    query = _rows_query(table, owner, names)
    for chunk in chunks(owners):
        for row in connection.execute(query, {"keys": chunk}).all():
            stored_rows.setdefault(row[owner_index], set()).add(tuple(row))
    wanted_rows: dict[int, set[tuple[Any, ...]]] = {}
    for values in wanted:
        if values[owner] in stored_rows:
            wanted_rows.setdefault(values[owner], set()).add(tuple(values.values()))
    stale = [key for key, rows in stored_rows.items() if rows != wanted_rows.get(key)]
    kept = stored_rows.keys() - set(stale)
    return RowChanges(table, owner, stale, [row for row in wanted if row[owner] not in kept])


@cache
def _rows_query(table: Table, owner: str, names: tuple[str, ...]) -> Select[Any]:
    return select(*(table.c[name] for name in names)).where(is_any(table.c[owner]))


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
