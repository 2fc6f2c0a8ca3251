"""Reading for clients that may leave: a bounded pool, statements with a limit, queries that stop.

Input: the engine of a store. Output: connections for reading, each in the name of one request
(`Reading`). A query ends when its statement has taken too long or when its client is gone, in
SQLite as in PostgreSQL, so that nobody can take all connections by asking and leaving.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from ingest.store.engine import reading_engine

log = logging.getLogger(__name__)

# Connections of one process. Two cores are busy with two; the others wait for the disk.
CONNECTIONS = 10
# Steps of SQLite's virtual machine, a tenth of a second or less, between two looks at the clock.
# Each look needs Python's lock, for which a busy process makes it wait 5 ms.
_STEPS = 1_000_000
_CANCEL_SECONDS = 5.0


class ClientGone(Exception):  # noqa: N818 - nothing is wrong
    """Nobody waits for the answer any more."""


class Reader:
    """Connections for reading. May be shared between threads.

    `seconds`: how long one statement may take. The connections end when those of `engine` are
    disposed of.
    """

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        self.seconds = seconds
        self.engine = reading_engine(engine, connections=CONNECTIONS, seconds=seconds)
        event.listen(self.engine, "before_cursor_execute", _begin_statement)
        event.listen(engine, "engine_disposed", lambda _: self.engine.dispose())

    def reading(self) -> Reading:
        """Return a new `Reading`, for one request."""
        return Reading(self)


class Reading:
    """What one request reads, one connection at a time. `leave` may be called by any thread."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()  # guards `_driver`: what it names is this request's still
        self._driver: Any = None
        self._gone = False  # set once, and read without the lock
        self._end = math.inf

    def leave(self) -> None:
        """Stop the query in progress, and all later ones: the client is gone. May take seconds."""
        with self._lock:
            self._gone = True
            if self._driver is not None:
                _cancel(self._driver)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Raises `ClientGone` where the client is gone, now or later."""
        if self._gone:
            raise ClientGone
        with self._reader.engine.connect() as connection:
            connection = connection.execution_options(reading=self)
            driver: Any = connection.connection.driver_connection
            sqlite = connection.dialect.name == "sqlite"
            with self._lock:
                self._driver = driver
            if sqlite:
                driver.set_progress_handler(self._must_stop, _STEPS)
            try:
                yield connection
            except DBAPIError:
                if self._gone:
                    raise ClientGone from None
                raise
            finally:
                with self._lock:
                    self._driver = None
                if sqlite:
                    driver.set_progress_handler(None, 0)
                elif self._gone:
                    # A cancellation that comes late must not meet another request's query.
                    connection.invalidate()

    def begin_statement(self) -> None:
        if self._gone:
            raise ClientGone
        self._end = time.monotonic() + self._reader.seconds

    def _must_stop(self) -> bool:
        return self._gone or time.monotonic() > self._end


def _begin_statement(connection: Connection, *_: object) -> None:
    reading: Reading | None = connection.get_execution_options().get("reading")
    if reading is not None:
        reading.begin_statement()


def _cancel(driver: Any) -> None:
    """End the driver's query, if there is one. Both drivers allow it from another thread."""
    if not isinstance(driver, psycopg.Connection):
        driver.interrupt()
        return
    try:
        driver.cancel_safe(timeout=_CANCEL_SECONDS)
    except psycopg.Error as error:  # the statement's own limit ends it
        log.warning("cannot cancel a query whose client is gone: %s", error)
