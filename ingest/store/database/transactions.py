"""Begin the transactions that write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from ingest.store.turns import find_turns

# How long a writer waits for other writers, in all.
BUSY_SECONDS = 60


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
