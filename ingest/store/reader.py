"""Read for clients that may disconnect: a limited pool, and queries that can be stopped.

Input: the engine of a store. Output: connections for reading, each on behalf of one request
(`ReadSession`). A query ends when its statement has taken too long or when its client has
disconnected, in SQLite as in PostgreSQL, so that nobody can occupy all connections by sending
requests and leaving.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from ingest.store.database.engine import create_reading_engine

log = logging.getLogger(__name__)

# Connections of one process. Two of them occupy two cores; the others wait for the disk.
CONNECTIONS = 10
# Steps of SQLite's virtual machine between two looks at the clock: a tenth of a second or less.
# Each look needs Python's lock, for which a busy process makes it wait 5 ms.
_STEPS = 1_000_000
_CANCEL_SECONDS = 5.0
# Seconds between two cancellations of one query.
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 1.0


class ClientDisconnected(Exception):  # noqa: N818 - it is not an error
    """The client that waited for the response has disconnected."""


class Reader:
    """Connections for reading. May be shared by threads.

    `seconds`: how long one statement may take. The connections are closed when those of `engine`
    are disposed of.
    """

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        self.seconds = seconds
        self.engine = create_reading_engine(engine, connections=CONNECTIONS, seconds=seconds)
        event.listen(self.engine, "before_cursor_execute", _begin_statement)
        event.listen(engine, "engine_disposed", lambda _: self.engine.dispose())

    def open_session(self) -> ReadSession:
        """Return a new session, for one request."""
        return ReadSession(self)


class ReadSession:
    """The connections of one request, one at a time. Any thread may call `cancel`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        # Guards `_driver`: its connection is this request's still. Notified when it no longer is.
        self._changed = threading.Condition()
        self._driver: Any = None
        self._is_cancelled = False  # set once, and read without the lock
        self._deadline = math.inf

    def cancel(self) -> None:
        """Stop the query in progress and all later ones, as the client has disconnected.

        Returns when the connection has been given back, which may take seconds. A cancellation that
        arrives just before the query stops nothing, so it is repeated until then.
        """
        self._is_cancelled = True
        pause = _FIRST_PAUSE
        with self._changed:
            while self._driver is not None:
                _cancel_query(self._driver)
                self._changed.wait(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection. Raises `ClientDisconnected` if the session is cancelled."""
        if self._is_cancelled:
            raise ClientDisconnected
        with self._reader.engine.connect() as connection:
            connection = connection.execution_options(read_session=self)
            driver: Any = connection.connection.driver_connection
            is_sqlite = connection.dialect.name == "sqlite"
            with self._changed:
                self._driver = driver
            if is_sqlite:
                driver.set_progress_handler(self._must_stop, _STEPS)
            try:
                yield connection
            except DBAPIError:
                if self._is_cancelled:
                    raise ClientDisconnected from None
                raise
            finally:
                with self._changed:
                    self._driver = None
                    self._changed.notify_all()
                if is_sqlite:
                    driver.set_progress_handler(None, 0)
                elif self._is_cancelled:
                    # A cancellation that arrives late must not hit the query of another request.
                    connection.invalidate()

    def begin_statement(self) -> None:
        """Start the clock for a statement. Raises `ClientDisconnected` as `connect` does."""
        if self._is_cancelled:
            raise ClientDisconnected
        self._deadline = time.monotonic() + self._reader.seconds

    def _must_stop(self) -> bool:
        return self._is_cancelled or time.monotonic() > self._deadline


def _begin_statement(connection: Connection, *_: object) -> None:
    session: ReadSession | None = connection.get_execution_options().get("read_session")
    if session is not None:
        session.begin_statement()


def _cancel_query(driver: Any) -> None:
    """End the query of a driver's connection, if there is one.

    Both drivers allow it from another thread.
    """
    if isinstance(driver, sqlite3.Connection):
        driver.interrupt()
        return
    # Imported where it is the driver, and loaded: it takes as long to import as all of the API.
    import psycopg

    try:
        driver.cancel_safe(timeout=_CANCEL_SECONDS)
    except psycopg.Error as error:  # the statement's own limit ends it
        log.warning("cannot cancel the query of a disconnected client: %s", error)
