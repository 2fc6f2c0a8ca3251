"""Open the database of a store.

Input: a URL. Output: a SQLAlchemy engine on a schema that this version understands. Raises
`StoreError`, with one line that says what to do, for databases that cannot be reached, that hold
something else, or whose schema is of a newer version.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError

from ingest.store.database.errors import NoStoreError, StoreError, error_line
from ingest.store.database.schema_version import update_schema
from ingest.store.database.transactions import BUSY_SECONDS
from ingest.store.database.url import parse_url, redact_url
from ingest.store.libpq import POSTGRESQL_DEFAULTS

# KiB for each connection that only reads; the system caches the pages of the file.
_READING_CACHE = 8 << 10


def open_store(
    url: str, *, create: bool = False, migrate: bool = False, dry_run: bool = False
) -> Engine:
    """Open a store and return an engine on an up-to-date schema.

    With `create`, an empty database gets its schema; with `create` or `migrate`, an older schema
    is brought up to date. Otherwise both are errors, so that a mistyped path makes no file and a
    command that only reads changes nothing. With `dry_run` nothing is written, and the call fails
    if it would fail without it.

    Raises `StoreError`, and `NoStoreError` where there is no store.
    """
    parsed = parse_url(url)
    shown = redact_url(url)
    if parsed.drivername == "sqlite":
        _check_sqlite_path(parsed, create=create)
        if dry_run:
            _check_sqlite_writable(Path(parsed.database or ""))
    engine = _create_engine(parsed)
    if dry_run and parsed.drivername == "sqlite" and not Path(parsed.database or "").exists():
        return engine  # connecting would make the file
    try:
        update_schema(engine, shown, create=create, migrate=create or migrate, dry_run=dry_run)
    except OperationalError as error:
        engine.dispose()
        verb = "use" if parsed.drivername == "sqlite" else "reach"
        raise StoreError(f"cannot {verb} the database {shown}: {error_line(error)}") from None
    except (DBAPIError, sqlite3.DatabaseError) as error:
        engine.dispose()
        raise StoreError(f"cannot use the database {shown}: {error_line(error)}") from None
    except StoreError:
        engine.dispose()
        raise
    return engine


def _check_sqlite_path(url: URL, *, create: bool) -> None:
    if not url.database or url.database == ":memory:":
        raise StoreError("an SQLite store needs a file: sqlite:///FILE")
    path = Path(url.database)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file: sqlite:///{path}/ingest.db")
    if not path.exists() and not create:
        raise NoStoreError(f"no database at {path.absolute()}")
    if not path.parent.is_dir():
        raise StoreError(f"no folder {path.parent} for the database {path.name}; make it first")


def _check_sqlite_writable(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK) or (
        path.exists() and not os.access(path, os.R_OK | os.W_OK)
    ):
        raise StoreError(
            f"cannot write {path}: give this user the permission to write it and its folder"
        )


# PostgreSQL's settings for readers. It gives the plans that it should avoid a high cost, so that it
# would compile each statement for which there is no other plan, if the URL turns `jit` on.
_FEW_ROWS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": 0,
    "jit": "off",
}


def create_reading_engine(engine: Engine, *, connections: int, seconds: float) -> Engine:
    """Create another engine on the same store, for readers, of which there may be many.

    It has at most `connections` connections, each with a small cache. A reader that waits for one
    for longer than `seconds` gets an error. PostgreSQL ends statements that take longer than that
    by itself, and finds rows by their indexes, whatever it believes of a table without statistics:
    a reader needs few rows of each.
    """
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": seconds}
    readers = _create_engine(engine.url, **pool)
    if readers.dialect.name == "sqlite":
        setting = f"PRAGMA cache_size=-{_READING_CACHE}"
    else:
        settings = {"statement_timeout": int(seconds * 1000), **_FEW_ROWS}
        setting = "; ".join(f"SET {name} = {value}" for name, value in settings.items())

    def apply_setting(connection: Any, _record: object) -> None:
        connection.cursor().execute(setting).close()
        connection.commit()

    event.listen(readers, "connect", apply_setting)
    return readers


def _create_engine(url: URL, **pool: Any) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **pool)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(
            url,
            connect_args=_postgres_arguments(url),
            pool_pre_ping=True,
            **pool,
        )
    except NoSuchModuleError as error:  # pragma: no cover - psycopg is a dependency
        raise StoreError(f"cannot load the PostgreSQL driver: {error}") from None


# Without statistics, PostgreSQL overestimates the cost of statements that have many parts, and
# compiles them first. That took half of its time: most statements take less than a millisecond.
_NO_COMPILER = "-c jit=off"
_UTC = "-c timezone=UTC"


def _postgres_arguments(url: URL) -> dict[str, str]:
    """Return arguments for the driver that SQLAlchemy would let a URL override."""
    defaults = {key: value for key, value in POSTGRESQL_DEFAULTS.items() if key not in url.query}
    value = url.query.get("options", ())
    options = [value] if isinstance(value, str) else [*value]
    # Takes precedence over $PGCLIENTENCODING: another encoding could not carry every character
    # of a mail, and for a database in SQL_ASCII the driver would return bytes instead of text.
    settings = " ".join([_NO_COMPILER, *options, _UTC])
    return defaults | {"options": settings, "client_encoding": "utf8"}


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: it does so late, and not for reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "synchronous=FULL",  # a commit survives a power cut: 250 is a promise
        "foreign_keys=ON",
        "cache_size=-65536",  # KiB: with the default of 2 MiB, a batch is written twice
        f"busy_timeout={BUSY_SECONDS * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def require_flushed_commits(engine: Engine) -> None:
    """Let every PostgreSQL commit of this engine wait for the disk, whatever the server's default.

    A server may have `synchronous_commit` off for other programs. Stronger settings are kept.
    Connections that the engine already has are closed, because they would not be configured.
    """
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _flush_commits)
        engine.dispose()


def _flush_commits(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'local', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()
