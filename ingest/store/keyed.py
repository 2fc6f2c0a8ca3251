"""Run the queries that storing a mail needs: rows by their keys, with statements built once.

To build a statement, and the key under which SQLAlchemy keeps its compiled form, takes longer than
SQLite needs to run it. So these are made when their module is loaded, with the keys as a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Select, delete, union

from ingest.store.sql.key_lists import chunks, is_any


class KeyedQuery:
    """A query for the rows in which a column is any of the keys that it is run with."""

    __slots__ = ("_statement",)

    def __init__(
        self,
        query: Select[Any],
        column: ColumnElement[Any],
        *others: tuple[Select[Any], ColumnElement[Any]],
    ) -> None:
        """`others`: further queries, each with its own column, whose distinct rows are added."""
        own = query.where(is_any(column))
        united = (other.where(is_any(other_column)) for other, other_column in others)
        self._statement: Executable = union(own, *united) if others else own

    def rows(self, connection: Connection, keys: Iterable[Any], **parameters: Any) -> Iterator[Any]:
        """Yield the rows, those of each chunk of keys read at once.

        `parameters`: values for other parameters of the query.
        """
        for chunk in chunks(keys):
            yield from connection.execute(self._statement, {**parameters, "keys": chunk}).all()

    def values(self, connection: Connection, keys: Iterable[Any], **parameters: Any) -> set[Any]:
        """Return the values of the first column."""
        found: set[Any] = set()
        for chunk in chunks(keys):
            result = connection.execute(self._statement, {**parameters, "keys": chunk})
            found.update(result.scalars().all())
        return found


def delete_by_key(connection: Connection, column: ColumnElement[Any], keys: Iterable[Any]) -> None:
    """Delete the rows of a table in which this column of it is any of the keys."""
    for chunk in chunks(keys):
        connection.execute(_deletion(column), {"keys": chunk})


@cache
def _deletion(column: Any) -> Any:
    return delete(column.table).where(is_any(column))
