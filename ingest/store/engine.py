"""Open the database, check and migrate its schema, and begin the transactions that write.

Input: a URL. Output: a SQLAlchemy engine on a schema that this version understands. Raises
`StoreError`, with one line that says what to do, for databases that cannot be reached, that hold
something else, or whose schema is of a newer version.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from ingest.store.libpq import POSTGRESQL_DEFAULTS
from ingest.store.turns import find_turns

# The revisions in `migrations/versions`, oldest first. They are listed here, and compared by a
# test, so that opening a database that is up to date does not cost the import of Alembic.
REVISIONS = ("0001",)

# How long a writer waits for other writers, in all.
BUSY_SECONDS = 60
_WAL_PAUSE = 0.01  # seconds between two attempts to enable the write-ahead log
# KiB for each connection that only reads; the system caches the pages of the file.
_READING_CACHE = 8 << 10
# A number that no other program uses: all advisory locks of a PostgreSQL database share a name
# space.
_MIGRATION_LOCK = 0x696E67657374


class StoreError(Exception):
    """The database cannot be used. The text is one line: what is wrong and what to do."""


class NoStoreError(StoreError):
    """There is no store, or only an empty database. `cause`: the message without what to do."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"{cause}; `ingest replay SOURCE` or `ingest serve` makes a store")
        self.cause = cause


def parse_url(url: str) -> URL:
    """Parse the URL of a database, and set the driver that we use.

    Raises `StoreError` for a URL of another kind of database, and for one in which user and
    password cannot be distinguished from the rest: what is taken for the host is shown in
    messages.
    """
    advice = "write sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"not a database URL: {redact_url(url)!r}; {advice}") from None
    except ValueError:
        raise StoreError(
            f"not a database URL: {redact_url(url)!r}: the port is not a number; {advice}, and %XX "
            "for each of @ / : ? in a password"
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed.set(drivername="sqlite")
    if parsed.drivername not in _POSTGRES_SCHEMES:
        raise StoreError(
            f"no support for {parsed.drivername!r} databases; use sqlite:///FILE or postgresql://…"
        )
    if not _is_unambiguous(url):
        raise StoreError(
            f"not a database URL: {redact_url(url)!r}: write %40 for @, %2F for / and %3F for ? "
            "in a user's name or a password"
        )
    return parsed.set(drivername="postgresql+psycopg")


_POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
# Parameters of a URL whose values are shown. Others may hold a password or point to one.
_SHOWN_PARAMETERS = (
    "host", "port", "user", "dbname", "sslmode", "connect_timeout", "application_name",
)  # fmt: skip


def redact_url(url: str | URL) -> str:
    """Return the URL without its secrets, for messages and logs, which show no other form of it.

    If a password cannot be distinguished from the rest of the URL, only the scheme is kept.
    """
    full = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    scheme, separator, _ = full.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        return full if not set(full) & set("@=:\n") else "***"
    try:
        parsed = make_url(full)
    except (ArgumentError, ValueError):
        return f"{scheme}://***"
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return f"sqlite:///{parsed.database or ''}" if parsed.host is None else "sqlite://***"
    if not _is_unambiguous(full) or parsed.drivername not in _POSTGRES_SCHEMES:
        return f"{scheme}://***"
    base = parsed.set(drivername="postgresql", query={})
    query = _redact_query(full, parsed)
    return base.render_as_string(hide_password=True) + (f"?{query}" if query else "")


def _redact_query(full: str, parsed: URL) -> str:
    """Return the parameters that may be shown, with `***` for all others together."""
    shown = {key: value for key, value in parsed.query.items() if key in _SHOWN_PARAMETERS}
    has_others = "?" in full and len(shown) < full.partition("?")[2].count("&") + 1
    parameters = [
        f"{key}={value}"
        for key, values in shown.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]
    return "&".join([*parameters, *(["***"] if has_others else [])])


def _is_unambiguous(url: str) -> bool:
    """Tell whether a PostgreSQL URL can be parsed in one way only.

    After an unescaped @, / or ? in a password, the rest of the password would be taken for the
    host, the name or parameters.
    """
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    query = url.partition("?")[2]
    if "@" in query or "\n" in url or authority.count("@") > 1:
        return False
    return "@" not in path or not authority


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
        _update_schema(engine, shown, create=create, migrate=create or migrate, dry_run=dry_run)
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


# What to do about errors, by a part of the driver's message.
_ADVICE = {
    "readonly database": "give this user the permission to write the file and its folder",
    "unable to open database file": "give this user the permission to write its folder",
    "database is locked": "another process writes to it; try again when it is done",
    "due to lock timeout": "another session holds a lock, which pg_stat_activity names",
}


def error_line(error: Exception) -> str:
    """Format a database error as one line: the driver's message, and what to do about it."""
    cause = getattr(error, "orig", None) or error
    message = " ".join(str(cause).split()) or type(cause).__name__
    for part, advice in _ADVICE.items():
        if part in message:
            return f"{message}; {advice}"
    return message


@contextmanager
def write_transaction(engine: Engine, *, wait: float | None = None) -> Iterator[Connection]:
    """Begin a transaction that may write, and commit it at the end.

    SQLite: the write lock is taken at once, so that what is read first cannot be stale by the
    time of the first write.

    `wait`: seconds to wait for the locks of others, after which `OperationalError` is raised. In
    SQLite it limits the whole wait, and is `BUSY_SECONDS` by default; in PostgreSQL it limits the
    wait for each lock, and there is no limit by default.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            if wait is not None:
                connection.execute(text(_lock_timeout(wait)))
            yield connection
        return
    with _write_turn(engine, wait) as connection, _begin_immediate(connection) as transaction:
        yield transaction


@contextmanager
def unflushed_transaction(engine: Engine, *, wait: float | None = None) -> Iterator[Connection]:
    """Begin a transaction as `write_transaction` does, whose commit does not wait for the disk.

    For claims and records: a crash of the machine may undo the whole transaction, which puts the
    mail back into the queue. A later commit that is flushed, such as that of an accepted mail,
    flushes these before it (both databases write their logs in order).
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            settings = ["SET LOCAL synchronous_commit TO off"]
            if wait is not None:
                settings.append(_lock_timeout(wait))
            connection.execute(text("; ".join(settings)))
            yield connection
        return
    with _write_turn(engine, wait) as connection:
        _set_pragma(connection, "synchronous=NORMAL")
        try:
            with _begin_immediate(connection) as transaction:
                yield transaction
        finally:
            _set_pragma(connection, "synchronous=FULL")


def _lock_timeout(wait: float) -> str:
    return f"SET LOCAL lock_timeout TO {max(int(wait * 1000), 1)}"  # 0 would mean no limit


@contextmanager
def _begin_immediate(connection: Connection) -> Iterator[Connection]:
    connection = connection.execution_options(sqlite_begin="IMMEDIATE")
    with connection.begin():
        yield connection


@contextmanager
def _write_turn(engine: Engine, wait: float | None) -> Iterator[Connection]:
    """Wait until no other thread or process writes, and open a connection to SQLite.

    `wait`: seconds for the turn; the connection waits for programs that know no turns for the rest.
    """
    wait = BUSY_SECONDS if wait is None else wait
    deadline = time.monotonic() + wait
    turns = find_turns(engine)
    if not turns.take(deadline=deadline):
        error = sqlite3.OperationalError("database is locked")
        raise OperationalError("BEGIN IMMEDIATE", {}, error)
    try:
        with engine.connect() as connection:
            _set_pragma(
                connection, f"busy_timeout={max(int((deadline - time.monotonic()) * 1000), 1)}"
            )
            try:
                yield connection
            finally:
                _set_pragma(connection, f"busy_timeout={BUSY_SECONDS * 1000}")
    finally:
        turns.give_back()


def _set_pragma(connection: Connection, setting: str) -> None:
    """Set a pragma outside of a transaction. SQLAlchemy would begin one, so this bypasses it."""
    if connection.invalidated:
        return  # its next use opens a new connection
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        connection.invalidate()  # the pool must not hand it out in this state
        raise OperationalError(f"PRAGMA {setting}", {}, error) from error


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


def _update_schema(
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


# Writes that change nothing, but need the disk and the table locks that a delivery needs.
_PROBE = (
    "UPDATE alembic_version SET version_num = version_num",
    "DELETE FROM mail WHERE id IS NULL",
    "DELETE FROM pending WHERE mail_id IS NULL",
)


def probe_write(engine: Engine, *, wait: float | None = None) -> None:
    """Check that the store takes mail, in a transaction of its own, or raise what it raises.

    It has to be a write: a database on a full disk can still be read.
    """
    with write_transaction(engine, wait=wait) as connection:
        for statement in _PROBE:
            connection.execute(text(statement))
