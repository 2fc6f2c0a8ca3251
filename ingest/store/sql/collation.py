"""Order text by its code points in both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# Rows that a stream has in memory.
_STREAMED = 500

# Locales in which PostgreSQL orders text by code points.
_CODE_POINT_LOCALES = ("C", "POSIX", "C.UTF-8", "C.utf8")


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
