"""Query by lists of keys of any length, and split what is too long for one statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    String,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

# Both databases limit the parameters of a statement (SQLite: 32,766; PostgreSQL: 65,535).
_CHUNK = 5_000

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
