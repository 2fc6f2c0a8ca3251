"""Tell the query planners of both databases which tables and indexes to read first.

SQLite takes hints in the statement, PostgreSQL by settings of the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Join, Table, TableClause, func, select, table, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.operators import OperatorType


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
