"""Opening the database: which one, in what state, and the transactions of the write path.

Input: a URL. Output: a SQLAlchemy engine on a schema that this version understands. Refuses,
with `StoreError` and one line that says what to do: databases that cannot be reached, that
hold something else, or whose schema a newer version has made.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

# The revisions in `migrations/versions`, oldest first. Stated here, and held by a test, so
# that opening a database that is up to date does not cost the import of Alembic.
REVISIONS = ("0001",)

# That a writer waits for others, in all.
BUSY_SECONDS = 60
_READING_CACHE = 8 << 10  # KiB for each connection that only reads; the file's pages are cached
# Any number that is ours alone: PostgreSQL's advisory locks have one name space a database.
_MIGRATION_LOCK = 0x696E67657374


class StoreError(Exception):
    """The database cannot be used. The text is one line: what is wrong and what to do."""


class NoStoreError(StoreError):
    """There is no store there, or an empty database. `what`: that alone, without what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; `ingest replay SOURCE` or `ingest serve` makes a store")
        self.what = what


def parse_url(url: str) -> URL:
    """Parse the URL of a database, and set the driver that we use.

    Raises `StoreError` for a URL of another database, and for one whose user and password cannot
    be told from the rest: what is taken for the host ends up in messages.
    """
    form = "write sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"not a database URL: {redacted(url)!r}; {form}") from None
    except ValueError:
        raise StoreError(
            f"not a database URL: {redacted(url)!r}: the port is not a number; {form}, and %XX "
            "for each of @ / : ? in a password"
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed.set(drivername="sqlite")
    if parsed.drivername not in _POSTGRES:
        raise StoreError(
            f"no support for {parsed.drivername!r} databases; use sqlite:///FILE or postgresql://…"
        )
    if not _is_clear(url):
        raise StoreError(
            f"not a database URL: {redacted(url)!r}: write %40 for @, %2F for / and %3F for ? "
            "in a user's name or a password"
        )
    return parsed.set(drivername="postgresql+psycopg")


_POSTGRES = ("postgres", "postgresql", "postgresql+psycopg")
# Parameters of a URL whose values are shown. Others may hold a password or lead to one.
_SHOWN = ("host", "port", "user", "dbname", "sslmode", "connect_timeout", "application_name")


def redacted(url: str | URL) -> str:
    """Return the URL without its secrets, for messages and logs. No other form of it is shown.

    Of a URL in which a password cannot be told from the rest, only the scheme is left.
    """
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    scheme, cut, _ = text.partition("://")
    if not cut or not scheme.replace("+", "").isalnum():
        return text if not set(text) & set("@=:\n") else "***"
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        return f"{scheme}://***"
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return f"sqlite:///{parsed.database or ''}" if parsed.host is None else "sqlite://***"
    if not _is_clear(text) or parsed.drivername not in _POSTGRES:
        return f"{scheme}://***"
    shown = {key: value for key, value in parsed.query.items() if key in _SHOWN}
    bare = parsed.set(drivername="postgresql", query={})
    hidden = ["***"] if "?" in text and len(shown) < text.partition("?")[2].count("&") + 1 else []
    said = [f"{key}={one}" for key, value in shown.items() for one in _each(value)]
    query = "&".join([*said, *hidden])
    return bare.render_as_string(hide_password=True) + (f"?{query}" if query else "")


def _is_clear(url: str) -> bool:
    """Tell whether a PostgreSQL URL can be read in one way only: each part of it is what its
    author meant. An unescaped @, / or ? in a password makes host, name or parameters of its end.
    """
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    query = url.partition("?")[2]
    if "@" in query or "\n" in url or authority.count("@") > 1:
        return False
    return "@" not in path or not authority


def _each(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def open_store(
    url: str, *, create: bool = False, migrate: bool = False, dry_run: bool = False
) -> Engine:
    """An engine on an up-to-date schema.

    With `create`, an empty database gets its schema; with that or `migrate`, an older one is
    brought up to date. Else both are errors, so that a mistyped path makes no file and a
    command that only reads changes nothing. Raises `StoreError`; `NoStoreError` where there is
    none. With `dry_run` nothing is written, and only what would fail fails.
    """
    parsed = parse_url(url)
    shown = redacted(url)
    if parsed.drivername == "sqlite":
        _check_sqlite_path(parsed, create=create)
        if dry_run:
            _check_sqlite_writable(Path(parsed.database or ""))
    engine = _engine(parsed)
    if dry_run and parsed.drivername == "sqlite" and not Path(parsed.database or "").exists():
        return engine  # to connect would make the file
    try:
        _settle_schema(engine, shown, create=create, migrate=create or migrate, dry_run=dry_run)
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


# What the shortest messages do not say: what to do.
_ADVICE = {
    "readonly database": "give this user the permission to write the file and its folder",
    "unable to open database file": "give this user the permission to write its folder",
    "database is locked": "another process writes to it; try again when it is done",
    "due to lock timeout": "another session holds a lock, which pg_stat_activity names",
}


def error_line(error: Exception) -> str:
    """What the driver says, as one line without SQLAlchemy's frame, and what to do about it."""
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split()) or type(cause).__name__
    return next((f"{text}; {advice}" for said, advice in _ADVICE.items() if said in text), text)


@contextmanager
def write_transaction(engine: Engine, *, wait: float | None = None) -> Iterator[Connection]:
    """One transaction that may write. SQLite: the write lock is taken at once, so that what
    is read first cannot be stale by the time of the first write.

    `wait`: seconds for others' locks, after which it is an `OperationalError`. In SQLite all the
    waiting together, `BUSY_SECONDS` by default; in PostgreSQL for each lock, without a limit by
    default.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            if wait is not None:
                connection.execute(text(_lock_timeout(wait)))
            yield connection
        return
    with _own_turn(engine, wait) as connection, _begin_immediate(connection) as begun:
        yield begun


@contextmanager
def unflushed_transaction(engine: Engine, *, wait: float | None = None) -> Iterator[Connection]:
    """`write_transaction`, whose commit does not wait for the disk.

    For claims and records: a crash of the machine that undoes them undoes the whole transaction,
    and puts the mail back into the queue. Whatever is committed later and flushed, a mail that
    was accepted, brings these to the disk before it (both logs are written in order).
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            settings = ["SET LOCAL synchronous_commit TO off"]
            if wait is not None:
                settings.append(_lock_timeout(wait))
            connection.execute(text("; ".join(settings)))
            yield connection
        return
    with _own_turn(engine, wait) as connection:
        _flush(connection, "NORMAL")
        try:
            with _begin_immediate(connection) as begun:
                yield begun
        finally:
            _flush(connection, "FULL")


def _lock_timeout(wait: float) -> str:
    return f"SET LOCAL lock_timeout TO {max(int(wait * 1000), 1)}"  # 0 would be no limit


@contextmanager
def _begin_immediate(connection: Connection) -> Iterator[Connection]:
    connection = connection.execution_options(sqlite_begin="IMMEDIATE")
    with connection.begin():
        yield connection


# Shared by all threads that write: looked up under `_turns_lock`, and each turn is a lock itself.
_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_turns_lock = threading.Lock()


@contextmanager
def _own_turn(engine: Engine, wait: float | None) -> Iterator[Connection]:
    """A connection of SQLite, once the other threads of this process that write have had theirs.

    SQLite lets a writer that waits sleep for longer and longer, and whoever comes in between
    goes first: a delivery waited seconds for its commit while others' mail was derived.

    What is left of `wait` then is how long the connection waits for other processes.
    """
    wait = BUSY_SECONDS if wait is None else wait
    deadline = time.monotonic() + wait
    with _turns_lock:
        turn = _turns.setdefault(engine, threading.Lock())
    if not turn.acquire(timeout=wait):
        error = sqlite3.OperationalError("database is locked")
        raise OperationalError("BEGIN IMMEDIATE", {}, error)
    try:
        with engine.connect() as connection:
            _pragma(connection, f"busy_timeout={max(int((deadline - time.monotonic()) * 1000), 1)}")
            try:
                yield connection
            finally:
                _pragma(connection, f"busy_timeout={BUSY_SECONDS * 1000}")
    finally:
        turn.release()


def _flush(connection: Connection, when: str) -> None:
    _pragma(connection, f"synchronous={when}")


def _pragma(connection: Connection, setting: str) -> None:
    """Outside of a transaction, which is why this goes past SQLAlchemy: it would begin one."""
    if connection.invalidated:
        return  # what comes next is a new one
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        connection.invalidate()  # nobody may get it from the pool as it is
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
        raise StoreError(f"no folder {path.parent} to hold the database {path.name}; make it first")


def _check_sqlite_writable(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK) or (
        path.exists() and not os.access(path, os.R_OK | os.W_OK)
    ):
        raise StoreError(
            f"cannot write {path}: give this user the permission to write it and its folder"
        )


def reading_engine(engine: Engine, *, connections: int, seconds: float) -> Engine:
    """Another engine on the same store, for those who read and may be many.

    At most `connections` at a time, each with a small cache; whoever waits for one longer than
    `seconds` gets an error. PostgreSQL ends statements that take longer than that by itself.
    """
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": seconds}
    made = _engine(engine.url, **pool)
    if made.dialect.name == "sqlite":
        setting = f"PRAGMA cache_size=-{_READING_CACHE}"
    else:
        setting = f"SET statement_timeout = {int(seconds * 1000)}"

    def connected(connection: Any, _record: object) -> None:
        connection.cursor().execute(setting).close()
        connection.commit()

    event.listen(made, "connect", connected)
    return made


def _engine(url: URL, **pool: Any) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **pool)
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)
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


# libpq's parameters, where the URL does not say otherwise. Without them a server that has vanished
# from the network is waited for until TCP gives up: a quarter of an hour, or hours in a wait for
# an answer. Now after a minute, before the daemon counts as stuck. A server that is only slow
# acknowledges what it gets, and is waited for. Nothing of this applies to Unix sockets.
_POSTGRES_DEFAULTS = {
    "connect_timeout": "10",  # seconds, for each address of the server
    "tcp_user_timeout": "60000",  # milliseconds for what was sent to be acknowledged
    "keepalives_idle": "30",  # seconds of silence
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_UTC = "-c timezone=UTC"


def _postgres_arguments(url: URL) -> dict[str, str]:
    """What goes to the driver beside the URL, which SQLAlchemy would let it override."""
    given = {key: value for key, value in _POSTGRES_DEFAULTS.items() if key not in url.query}
    options = url.query.get("options", ())
    some = [options] if isinstance(options, str) else [*options]
    # Whatever $PGCLIENTENCODING says: another could not carry every character of a mail, and with
    # a database of SQL_ASCII the driver would give bytes for text.
    return given | {"options": " ".join([*some, _UTC]), "client_encoding": "utf8"}


def _sqlite_connected(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: it does so late, and not for reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "synchronous=FULL",  # a commit survives a power cut: 250 is a promise
        "foreign_keys=ON",
        "cache_size=-65536",  # KiB: with the 2 MiB of a default, a batch is written twice
        f"busy_timeout={BUSY_SECONDS * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _settle_schema(
    engine: Engine, shown: str, *, create: bool, migrate: bool, dry_run: bool
) -> None:
    with engine.connect() as connection:
        _refuse_encoding(connection, shown)
        found = _revision(connection, shown)
    if found == REVISIONS[-1]:
        return
    if found is None and not create:
        raise NoStoreError(f"{shown} is empty")
    if found is not None and not migrate:
        raise StoreError(
            f"{shown} has the older schema {found}; any writing command, such as "
            "`ingest reparse`, brings it up to date"
        )
    if dry_run:
        if engine.dialect.name == "postgresql":
            _refuse_without_right(engine, shown)
        return
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK}
            )
        if _revision(connection, shown) != REVISIONS[-1]:
            _migrate(connection)


def _refuse_without_right(engine: Engine, shown: str) -> None:
    """Raise `StoreError` where this user may make no tables."""
    query = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
    with engine.connect() as connection:
        if not connection.execute(query).scalar():
            raise StoreError(
                f"{shown}: this user may make no tables; make it the owner of the database"
            )


def _refuse_encoding(connection: Connection, shown: str) -> None:
    """Raise `StoreError` for a PostgreSQL database that cannot hold every character of a mail."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"{shown} has the encoding {encoding}; make a database with "
            "`createdb --template template0 --encoding UTF8`"
        )


def _write_ahead(engine: Engine) -> None:
    """Let readers read while one writes. The file remembers it, so this is done once, and not
    before it is known to be ours: looking at a stranger's database must not alter it.
    """
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _revision(connection: Connection, shown: str) -> str | None:
    """The schema's revision, None for an empty database."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables or "mail" not in tables:
        raise StoreError(f"{shown} holds something else; name a database for the mail alone")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found not in REVISIONS:
        raise StoreError(
            f"{shown} was made by a newer version (schema {found}, this one knows up to "
            f"{REVISIONS[-1]}); upgrade ingest"
        )
    return str(found)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ingest.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
