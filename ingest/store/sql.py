"""Many rows at a time: numbers for them, their insertion, and lists of keys in bounded pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Join,
    String,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from ingest.frozen import frozen

# Both databases bound the parameters of a statement (SQLite: 32,766; PostgreSQL: 65,535).
_CHUNK = 5_000

# Rows for which the shorter way is worth its own round trip.
_MANY = 20

T = TypeVar("T")


def chunks(keys: Iterable[T]) -> Iterator[list[T]]:
    """The keys in lists that one `IN (…)` may hold."""
    some = list(keys)
    for start in range(0, len(some), _CHUNK):
        yield some[start : start + _CHUNK]


class is_any(FunctionElement[bool]):  # noqa: N801 - it is written as SQLAlchemy's functions are
    """`is_any(column, keys)`: whether it is one of many numbers or texts.

    `column IN (…)`, with all keys as one parameter: as thousands of them, SQLAlchemy and the
    driver take longer over each than the database does to find it.
    """

    inherit_cache = True
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], keys: Iterable[Any]) -> None:
        super().__init__(column, bindparam(None, list(keys), type_=_Keys(column.type)))

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - as it is called
        """Itself: where SQLAlchemy writes `… = 1` for a truth, SQLite looks at every row."""
        return self


class _Keys(TypeDecorator[list[Any]]):
    """An array in PostgreSQL, JSON in SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        # Cut to the length of a VARCHAR, a key would be found that is not there.
        self.item = Text() if isinstance(item, String) else item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        wanted = postgresql.ARRAY(self.item) if dialect.name == "postgresql" else Text()
        return dialect.type_descriptor(wanted)

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        # (As text with a cast, an array would be half as dear to send, and read anew for each row
        # that PostgreSQL compares with it: a cast of text is no constant.)
        return value if dialect.name == "postgresql" else json.dumps(value, ensure_ascii=False)


@compiles(is_any)
def _is_any(element: is_any, compiler: SQLCompiler, **words: Any) -> str:
    column, keys = (compiler.process(one, **words) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({keys}))"  # noqa: S608 - compiled, as SQL


@compiles(is_any, "postgresql")
def _is_any_postgresql(element: is_any, compiler: SQLCompiler, **words: Any) -> str:
    column, keys = (compiler.process(one, **words) for one in element.clauses)
    return f"{column} = ANY ({keys})"


class InOrder(Join):
    """A join whose left side SQLite reads first. PostgreSQL has statistics, and decides itself."""

    inherit_cache = True


@compiles(InOrder)
def _in_order(element: InOrder, compiler: SQLCompiler, **words: Any) -> str:
    written: str = compiler.visit_join(element, **words)  # type: ignore[no-untyped-call]
    return written


@compiles(InOrder, "sqlite")
def _in_order_sqlite(element: InOrder, compiler: SQLCompiler, **words: Any) -> str:
    assert element.onclause is not None
    sides = {**words, "asfrom": True}
    left, right = (compiler.process(one, **sides) for one in (element.left, element.right))
    on = compiler.process(element.onclause, **{**words, "asfrom": False})
    return f"{left} CROSS JOIN {right} ON {on}"


def look_up_by_keys(connection: Connection) -> None:
    """Until the transaction ends, let PostgreSQL find rows by their indexes.

    It takes a thousand keys for reason enough to read whole tables, as long as these are not much
    larger than that, and each batch then costs more than the one before.
    """
    if connection.dialect.name == "postgresql":
        off = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
        settings = [func.set_config(name, "off", True) for name in off]
        parallel = func.set_config("max_parallel_workers_per_gather", "0", True)
        connection.execute(select(*settings, parallel))


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
                # OFFSET keeps the look-up of the sequence out of the rows, each of which would
                # take eight times as long.
                "SELECT nextval(own) FROM generate_series(1, :count), (SELECT"
                " CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS own OFFSET 0) AS named"
            ),
            {"table": f'"{table.name}"', "count": count},
        )
        return list(numbers.scalars())
    highest = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
    return range(highest + 1, highest + 1 + count)


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns.

    Many of them go past SQLAlchemy, which takes longer to look at each value than the database
    does to store it: through COPY in PostgreSQL, as one prepared statement in SQLite.
    """
    if len(rows) < _MANY:
        if rows:
            connection.execute(insert(table).inline(), rows)
        return
    names = tuple(rows[0])
    values: Iterable[tuple[Any, ...]] = map(itemgetter(*names), rows)
    if len(names) == 1:
        values = ((one,) for one in values)
    with _errors_of_sqlalchemy(connection, table):
        if connection.dialect.name == "postgresql":
            _copy(connection, table, names, values)
        else:
            _insert_prepared(connection, table, names, values)


@contextmanager
def _errors_of_sqlalchemy(connection: Connection, table: Table) -> Iterator[None]:
    """What the driver raises, as SQLAlchemy raises it: callers know no other."""
    dialect = connection.dialect
    dbapi: Any = dialect.loaded_dbapi
    try:
        yield
    except dbapi.Error as error:
        said = f"insert many rows into {table.name}"
        raise DBAPIError.instance(said, None, error, dbapi.Error, dialect=dialect) from error


def try_insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> bool:
    """Insert rows as `insert_rows` does, or none: where somebody else has inserted one of them
    since it was looked for (not in SQLite, which has one writer), and where they are too few for
    a savepoint.
    """
    if connection.dialect.name != "postgresql":
        insert_rows(connection, table, rows)
        return True
    if len(rows) < _MANY:
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
    """Binary COPY: neither side escapes or reads text."""
    dialect = connection.dialect
    types = [table.c[name].type.dialect_impl(dialect).compile(dialect) for name in names]
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {_columns(table, names)} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([one.split("(")[0].lower() for one in types])
        for row in rows:
            copy.write_row(row)


def _insert_prepared(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    marks = ", ".join("?" * len(names))
    processors = [table.c[name].type.bind_processor(connection.dialect) for name in names]
    for place, process in enumerate(processors):
        if process is not None:
            rows = _processed(rows, place, process)
    statement = f"INSERT INTO {_columns(table, names)} VALUES ({marks})"  # noqa: S608 - our names
    cursor: Any = connection.connection.cursor()  # takes any iterable, whatever its type says
    cursor.executemany(statement, rows)


def _processed(
    rows: Iterable[tuple[Any, ...]], place: int, process: Callable[[Any], Any]
) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield (*row[:place], process(row[place]), *row[place + 1 :])


def _columns(table: Table, names: Sequence[str]) -> str:
    return f'"{table.name}" ({", ".join(names)})'


@frozen
class RowChanges:
    """What makes the stored rows of some owners those that are wanted: all rows of the owners in
    `stale` go, and `rows` come. Owners whose rows are right already are in neither.
    """

    table: Table
    owner: str
    stale: Sequence[int]
    rows: Sequence[dict[str, Any]]

    def drop(self, connection: Connection) -> None:
        column = self.table.c[self.owner]
        for some in chunks(self.stale):
            connection.execute(delete(self.table).where(is_any(column, some)))

    def insert(self, connection: Connection) -> None:
        insert_rows(connection, self.table, self.rows)

    def write(self, connection: Connection) -> None:
        """Both, where nothing must be written in between."""
        self.drop(connection)
        self.insert(connection)


def compare_rows(
    connection: Connection,
    table: Table,
    owner: str,
    owners: Collection[int],
    wanted: Sequence[dict[str, Any]],
) -> RowChanges:
    """Compare what is stored of these owners, by the column `owner`, with the rows that are
    wanted, which may have further owners; those have none stored.

    To read a row costs a fraction of what it costs to delete it and to write it again, with its
    entries in the indexes. Columns that `wanted` does not name are not compared.
    """
    if not owners:
        return RowChanges(table, owner, (), wanted)
    names = tuple(wanted[0]) if wanted else (owner,)
    place = names.index(owner)
    have: dict[int, set[tuple[Any, ...]]] = {}
    query = select(*(table.c[name] for name in names))
    for some in chunks(owners):
        for row in connection.execute(query.where(is_any(table.c[owner], some))).all():
            have.setdefault(row[place], set()).add(tuple(row))
    want: dict[int, set[tuple[Any, ...]]] = {}
    for one in wanted:
        if one[owner] in have:
            want.setdefault(one[owner], set()).add(tuple(one.values()))
    stale = [one for one, rows in have.items() if rows != want.get(one)]
    kept = have.keys() - set(stale)
    return RowChanges(table, owner, stale, [one for one in wanted if one[owner] not in kept])


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
