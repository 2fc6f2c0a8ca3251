"""Compare stored rows with those that are wanted, and write the difference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, delete, select

from ingest.frozen import frozen
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any


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
