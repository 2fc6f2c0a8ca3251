"""Scan the configured repositories in a child process of the daemon, again and again.

Input: on standard input, the pickle of a `ScanOrder` after its length in 8 bytes; each replaces the
one before, and the end of the input ends the process. Output: lines of the log. The pipe is
private: nobody else can write to it. A first scan computes for minutes, and in the daemon itself
it would delay mail.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from typing import BinaryIO

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.daemon.monitoring.log import configure_log, log_event
from ingest.daemon.scans.order import ScanOrder
from ingest.daemon.workers.pipe import FRAME
from ingest.scan.scan import ScanResult, scan_repositories
from ingest.store.commits.repositories import read_requests
from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError, error_line

# Seconds between two looks for a request. A hook of git may wait for the result.
_POLL = 0.2


class _Orders:
    """The latest order, and whether there is a newer one. Shared with the thread that reads."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._changed = threading.Event()
        self._order: ScanOrder | None = None
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def take(self) -> ScanOrder:
        """Return the latest order, as soon as there is one."""
        self._changed.wait()
        self._changed.clear()
        assert self._order is not None
        return self._order

    def wait(self, seconds: float) -> bool:
        """Wait for a newer order; tell whether there is one."""
        return self._changed.wait(seconds)

    def _read(self) -> None:
        while header := self._pipe.read(FRAME.size):
            if len(header) < FRAME.size:
                break
            self._order = pickle.loads(self._pipe.read(*FRAME.unpack(header)))  # noqa: S301 - our own pipe
            self._changed.set()
        # The daemon has ended or wants us to. What a scan has stored is right at any time.
        os._exit(0)


def main() -> None:
    """Scan until the daemon closes the pipe."""
    orders = _Orders(os.fdopen(os.dup(0), "rb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        order = orders.take()
        configure_log(order.config.serve.log)
        _Scanner(order, orders).run()


class _NewOrder(Exception):  # noqa: N818 - it is no error
    """There is a newer order, so that the scan in progress ends."""


class _Scanner:
    """Scan for one order until there is a newer one."""

    def __init__(self, order: ScanOrder, orders: _Orders) -> None:
        self._order = order
        self._orders = orders
        self._engine: Engine | None = None
        self._reported: dict[str, str] = {}  # errors that have been logged, by what has them

    def run(self) -> None:
        """Scan at intervals and on request."""
        while True:
            served = self._read_requests()
            self._scan()
            if self._wait(served):
                break
        if self._engine is not None:
            self._engine.dispose()

    def _scan(self) -> None:
        try:
            engine = self._open()
            results = scan_repositories(engine, self._order.config, report=self._check_order)
        except _NewOrder:
            return
        except (StoreError, SQLAlchemyError, OSError) as error:
            self._report_error("store", _describe_error(error))
            return
        self._reported.pop("store", None)
        for result in results:
            self._report(result)

    def _check_order(self, _: ScanResult) -> None:
        if self._orders.wait(0):
            raise _NewOrder

    def _wait(self, served: int) -> bool:
        """Wait for the next scan. Returns whether there is a newer order."""
        due = time.monotonic() + self._order.config.serve.scan_interval
        while time.monotonic() < due:
            if self._orders.wait(_POLL):
                return True
            if self._read_requests() != served:
                return False
        return False

    def _open(self) -> Engine:
        if self._engine is None:
            self._engine = open_store(self._order.url)
        return self._engine

    def _read_requests(self) -> int:
        """Return how many scans were requested; 0 while the database cannot be used."""
        try:
            with self._open().connect() as connection:
                return read_requests(connection)
        except (StoreError, SQLAlchemyError, OSError):
            return 0

    def _report(self, result: ScanResult) -> None:
        if result.new or result.gone:
            log_event("scanned", repository=result.path, new=result.new, gone=result.gone)
        if result.error is not None:
            self._report_error(result.path, result.error)
        else:
            self._reported.pop(result.path, None)

    def _report_error(self, name: str, reason: str) -> None:
        """Log an error once, until it is another one."""
        if self._reported.get(name) != reason:
            self._reported[name] = reason
            log_event("scan-failed", logging.ERROR, reason=reason)


def _describe_error(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else error_line(error)


if __name__ == "__main__":
    main()
