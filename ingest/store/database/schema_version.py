"""Check the version of a database's schema, and bring it up to date."""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import Connection, Engine, inspect, text

from ingest.store.database.errors import NoStoreError, StoreError
from ingest.store.database.transactions import BUSY_SECONDS, write_transaction

# The revisions in `migrations/versions`, oldest first. They are listed here, and compared by a
# test, so that opening a database that is up to date does not cost the import of Alembic.
REVISIONS = ("0001",)

_WAL_PAUSE = 0.01  # seconds between two attempts to enable the write-ahead log
# A number that no other program uses: all advisory locks of a PostgreSQL database share a name
# space.
_MIGRATION_LOCK = 0x696E67657374


def update_schema(
    engine: Engine, shown: str, *, create: bool, migrate: bool, dry_run: bool
) -> None:
    """Bring the schema up to date where that is allowed. Raises `StoreError` where it is not.

    `shown`: the URL for messages.
    """
    with engine.connect() as connection:
        _check_encoding(connection, shown)
        revision = _read_revision(connection, shown)
    if revision == REVISIONS[-1]:
        return
    if revision is None and not create:
        raise NoStoreError(f"{shown} is empty")
    if revision is not None and not migrate:
        raise StoreError(
            f"{shown} has the older schema {revision}; any writing command, such as "
            "`ingest reparse`, brings it up to date"
        )
    if dry_run:
        if engine.dialect.name == "postgresql":
            _check_privilege(engine, shown)
        return
    if engine.dialect.name == "sqlite":
        _enable_wal(engine)
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK}
            )
        if _read_revision(connection, shown) != REVISIONS[-1]:
            _migrate(connection)


def _check_privilege(engine: Engine, shown: str) -> None:
    """Raise `StoreError` if this user may not create tables."""
    query = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
    with engine.connect() as connection:
        if not connection.execute(query).scalar():
            raise StoreError(
                f"{shown}: this user may not create tables; make it the owner of the database"
            )


def _check_encoding(connection: Connection, shown: str) -> None:
    """Raise `StoreError` for a PostgreSQL database that cannot hold every character of a mail."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"{shown} has the encoding {encoding}; make a database with "
            "`createdb --template template0 --encoding UTF8`"
        )


def _enable_wal(engine: Engine) -> None:
    """Let readers read while one connection writes, by SQLite's write-ahead log.

    The setting is stored in the file, so it is made once, and not before the file is known to be
    a store: opening another program's database must not alter it. SQLite does not wait for the
    locks of others here, such as another process that makes the same store.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_WAL_PAUSE)
            else:
                return
    finally:
        connection.close()


def _read_revision(connection: Connection, shown: str) -> str | None:
    """Return the revision of the schema, None for an empty database.

    Raises `StoreError` for the database of another program and for a newer schema.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables or "mail" not in tables:
        raise StoreError(f"{shown} holds something else; name a database that only ingest uses")
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision not in REVISIONS:
        raise StoreError(
            f"{shown} was made by a newer version (schema {revision}, this one knows up to "
            f"{REVISIONS[-1]}); upgrade ingest"
        )
    return str(revision)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ingest.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
