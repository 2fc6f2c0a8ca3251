"""Index the names of patches, covers, series, files and people, to find a part of one.

The indexes are made when the API first starts, so that a store without an API does not pay for
them. Each kind of database finds any text of three characters or more by the trigrams in it:

- SQLite by a table of its module FTS5 beside each table. Triggers keep it. What exists is
  added in batches, between which other writers have their turn; until all is, it is not used.
- PostgreSQL by indexes of its extension pg_trgm, which it makes without blocking writers.

Without the module or the extension, or the permission to create it, a search reads every name.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    column,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.database.transactions import write_transaction


@frozen
class _Indexed:
    """The columns of a table that are searched, and the one with its ids."""

    key: Column[Any]
    columns: tuple[Column[Any], ...]

    @property
    def table(self) -> Table:
        """Return the table."""
        return self.key.table

    @property
    def name(self) -> str:
        """Return the name of the table."""
        return self.table.name


_INDEXED = (
    _Indexed(schema.patch.c.message_id, (schema.patch.c.name,)),
    _Indexed(schema.cover.c.message_id, (schema.cover.c.name,)),
    _Indexed(schema.series.c.id, (schema.series.c.name,)),
    _Indexed(schema.body.c.message_id, (schema.body.c.files,)),
    _Indexed(schema.person.c.id, (schema.person.c.name, schema.person.c.email)),
)

# Rows that are added to an index in one transaction.
_BATCH = 1_000

_TRIGRAM = 3

# A row that has the first of so many trigrams of a text is compared with it.
_MAX_TRIGRAMS = 40


def extend_search_indexes(engine: Engine) -> bool:
    """Create the indexes or add the next names to them, and return whether there is more to do.

    Begins transactions of its own.
    """
    try:
        if engine.dialect.name == "postgresql":
            _create_postgresql_indexes(engine)
            return False
        with write_transaction(engine) as connection:
            for indexed in _INDEXED:
                if _extend_sqlite_index(connection, indexed):
                    return True
    except DBAPIError:  # no such module or extension, or this user may not create it
        return False
    return False


def match_text(connection: Connection, searched: Table, part: str) -> Select[Any] | None:
    """Return a query for the ids of the rows that may contain a text, by index.

    Returns None where it would read every row. What it finds has the trigrams of the text, in any
    of the columns that are searched: the caller must compare these with the text too.
    """
    if connection.dialect.name != "sqlite" or len(part) < _TRIGRAM:
        return None
    name = searched.name
    progress = schema.search_progress.c
    query = select(progress.name).where(progress.name == name, progress.next_id.is_(None))
    if connection.execute(query).first() is None:
        return None
    words = table(f"{name}_words", column("rowid"))
    matches: ColumnElement[bool] = literal_column(words.name).op("MATCH")(_trigrams(part))
    return select(words.c.rowid).where(matches)


def _trigrams(part: str) -> str:
    """Return the query of FTS5 for the trigrams of a text, or the first ones of a long one."""
    starts = range(min(len(part) - _TRIGRAM + 1, _MAX_TRIGRAMS))
    pieces = dict.fromkeys(part[start : start + _TRIGRAM] for start in starts)
    return " AND ".join('"{}"'.format(piece.replace('"', '""')) for piece in pieces)


def _extend_sqlite_index(connection: Connection, indexed: _Indexed) -> bool:
    """Create the index of a table, or add its next names. Returns whether it did anything."""
    table_, progress = schema.search_progress, schema.search_progress.c
    name, key = indexed.name, indexed.key
    row = connection.execute(select(progress.next_id).where(progress.name == name)).first()
    if row is None:
        _create_sqlite_index(connection, indexed)
        connection.execute(insert(table_).values(name=name, next_id=0))
        return True
    if row.next_id is None:
        return False
    query = select(key).where(key >= row.next_id).order_by(key).limit(_BATCH)
    ids = connection.execute(query).scalars().all()
    if ids:
        names = ", ".join(column.name for column in indexed.columns)
        statement = text(
            f"INSERT INTO {name}_words (rowid, {names})"  # noqa: S608 - our names
            f" SELECT {key.name}, {names} FROM {name} WHERE {key.name} BETWEEN :first AND :last"
        )
        connection.execute(statement, {"first": ids[0], "last": ids[-1]})
    next_id = ids[-1] + 1 if len(ids) == _BATCH else None
    connection.execute(update(table_).where(progress.name == name).values(next_id=next_id))
    return True


def _create_sqlite_index(connection: Connection, indexed: _Indexed) -> None:
    """Create the index and the triggers that keep it.

    It has which rows have a trigram, and neither where nor the text itself: that costs mail half as
    much. So what is removed from it must be what was added, and the triggers leave alone what
    `_extend_sqlite_index` has not reached.
    """
    name, key = indexed.name, indexed.key.name
    names = [column.name for column in indexed.columns]
    columns = ", ".join(names)
    new, old = (", ".join(f"{row}.{column}" for column in names) for row in ("new", "old"))
    add = f"INSERT INTO {name}_words (rowid, {columns}) VALUES (new.{key}, {new});"  # noqa: S608
    remove = (
        f"INSERT INTO {name}_words ({name}_words, rowid, {columns})"  # noqa: S608 - our names
        f" VALUES ('delete', old.{key}, {old});"
    )

    def trigger(event: str, row: str, differs: str, actions: str) -> str:
        reached = (
            f"(SELECT next_id IS NULL OR {row}.{key} < next_id FROM search_progress"  # noqa: S608
            f" WHERE name = '{name}')"
        )
        title = f"{name}_words_{event.split(maxsplit=1)[0].lower()}"
        return (
            f"CREATE TRIGGER {title} AFTER {event} ON {name} WHEN {differs} AND {reached}"
            f" BEGIN {actions} END"
        )

    changed = " OR ".join(f"new.{column} IS NOT old.{column}" for column in names)
    filled = " OR ".join(f"{{row}}.{column} IS NOT NULL" for column in names)
    create = (
        f"CREATE VIRTUAL TABLE {name}_words USING fts5 ({columns}, tokenize = 'trigram',"
        f" content = '{name}', content_rowid = '{key}', columnsize = 0, detail = none)"
    )
    for statement in (
        create,
        trigger("INSERT", "new", f"({filled.format(row='new')})", add),
        trigger("DELETE", "old", f"({filled.format(row='old')})", remove),
        trigger(f"UPDATE OF {columns}", "new", f"({changed})", f"{remove} {add}"),
    ):
        connection.exec_driver_sql(statement)


def _create_postgresql_indexes(engine: Engine) -> None:
    """Create the indexes that do not exist, or that were not completed."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout TO 0"))
        try:
            for indexed in _INDEXED:
                for searched in indexed.columns:
                    _create_postgresql_index(connection, indexed.name, searched.name)
        finally:
            connection.execute(text("RESET statement_timeout"))


def _create_postgresql_index(connection: Connection, name: str, searched: str) -> None:
    index = f"ix_{name}_{searched}_words"
    query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    is_valid = connection.execute(query, {"name": index}).scalar()
    if is_valid:
        return
    connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    if is_valid is False:
        connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {index}"))
    connection.execute(
        text(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {name}"
            f" USING gin ({searched} gin_trgm_ops) WHERE {searched} IS NOT NULL"
        )
    )
