"""Index the names of patches, covers and series, to find a part of a name without reading them all.

The indexes are made when the API first starts, so that a store without an API does not pay for
them. Each kind of database finds any text of three characters or more by the trigrams in it:

- SQLite by a table of its module FTS5 beside each table. Triggers keep it. The names that exist are
  added in batches, between which other writers have their turn; until all are, it is not used.
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
    column,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from ingest.store import schema
from ingest.store.engine import write_transaction

# The tables with names, and the columns with their ids.
_KEYS: dict[str, Column[Any]] = {
    "patch": schema.patch.c.message_id,
    "cover": schema.cover.c.message_id,
    "series": schema.series.c.id,
}

# Names that are added to an index in one transaction.
_BATCH = 1_000

_MIN_LENGTH = 3


def extend_search_indexes(engine: Engine) -> bool:
    """Create the indexes or add the next names to them, and return whether there is more to do.

    Begins transactions of its own.
    """
    try:
        if engine.dialect.name == "postgresql":
            _create_postgresql_indexes(engine)
            return False
        with write_transaction(engine) as connection:
            for name, key in _KEYS.items():
                if _extend_sqlite_index(connection, name, key):
                    return True
    except DBAPIError:  # no such module or extension, or this user may not create it
        return False
    return False


def match_names(connection: Connection, key: Column[Any], part: str) -> Select[Any] | None:
    """Return a query for the ids of the names that may contain a text, by index.

    Returns None where it would read every name. `key`: the column with the ids. The caller must
    compare the names too: case is ignored in more alphabets than the database does elsewhere.
    """
    if connection.dialect.name != "sqlite" or len(part) < _MIN_LENGTH:
        return None
    name = key.table.name
    progress = schema.search_progress.c
    query = select(progress.name).where(progress.name == name, progress.next_id.is_(None))
    if connection.execute(query).first() is None:
        return None
    words = table(f"{name}_words", column("rowid"))
    phrase = '"{}"'.format(part.replace('"', '""'))
    matches: ColumnElement[bool] = literal_column(words.name).op("MATCH")(phrase)
    return select(words.c.rowid).where(matches)


def _extend_sqlite_index(connection: Connection, name: str, key: Column[Any]) -> bool:
    """Create the index of a table, or add its next names. Returns whether it did anything."""
    table_, progress = schema.search_progress, schema.search_progress.c
    row = connection.execute(select(progress.next_id).where(progress.name == name)).first()
    if row is None:
        _create_sqlite_index(connection, name, key.name)
        connection.execute(insert(table_).values(name=name, next_id=0))
        return True
    if row.next_id is None:
        return False
    query = select(key).where(key >= row.next_id).order_by(key).limit(_BATCH)
    ids = connection.execute(query).scalars().all()
    if ids:
        statement = text(
            f"INSERT OR REPLACE INTO {name}_words (rowid, name)"  # noqa: S608 - our names
            f" SELECT {key.name}, coalesce(name, '') FROM {name}"
            f" WHERE {key.name} BETWEEN :first AND :last"
        )
        connection.execute(statement, {"first": ids[0], "last": ids[-1]})
    next_id = ids[-1] + 1 if len(ids) == _BATCH else None
    connection.execute(update(table_).where(progress.name == name).values(next_id=next_id))
    return True


def _create_sqlite_index(connection: Connection, name: str, key: str) -> None:
    add = f"INSERT INTO {name}_words (rowid, name) VALUES (new.{key}, coalesce(new.name, ''));"  # noqa: S608
    remove = f"DELETE FROM {name}_words WHERE rowid = old.{key};"  # noqa: S608 - our names
    on_update = f"AFTER UPDATE OF name ON {name} WHEN new.name IS NOT old.name"
    for statement in (
        f"CREATE VIRTUAL TABLE {name}_words USING fts5 (name, tokenize = 'trigram')",
        f"CREATE TRIGGER {name}_words_insert AFTER INSERT ON {name} BEGIN {add} END",
        f"CREATE TRIGGER {name}_words_delete AFTER DELETE ON {name} BEGIN {remove} END",
        f"CREATE TRIGGER {name}_words_update {on_update} BEGIN {remove} {add} END",
    ):
        connection.exec_driver_sql(statement)


def _create_postgresql_indexes(engine: Engine) -> None:
    """Create the indexes that do not exist, or that were not completed."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout TO 0"))
        try:
            query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
            for name in _KEYS:
                index = f"ix_{name}_name_words"
                is_valid = connection.execute(query, {"name": index}).scalar()
                if is_valid:
                    continue
                connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
                if is_valid is False:
                    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {index}"))
                connection.execute(
                    text(
                        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {name}"
                        " USING gin (name gin_trgm_ops)"
                    )
                )
        finally:
            connection.execute(text("RESET statement_timeout"))
