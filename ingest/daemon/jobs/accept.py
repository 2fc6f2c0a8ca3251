"""Accept mail: the listeners, and the thread that commits what they receive."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import logging
import os
from contextlib import suppress

import zstandard

from ingest.config.settings import Config
from ingest.daemon.acceptor import Acceptor, Capacity
from ingest.daemon.jobs import limits
from ingest.daemon.jobs.order import JobOrder
from ingest.daemon.jobs.runner import ServeSettings
from ingest.daemon.listeners import Listeners
from ingest.daemon.monitoring.accept_report import AcceptReporter
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.monitoring.meter import AcceptMeter
from ingest.daemon.monitoring.metrics import AcceptMetrics
from ingest.daemon.router import Router
from ingest.store.database.engine import open_store
from ingest.store.inbox import deliveries

# Modules that others import when they first need them are loaded before the first mail: later
# there may be no descriptor to read them with, or another version of them on the disk.
_PRELOADED = (concurrent.futures.thread, deliveries, zstandard)


class AcceptJob:
    """The job that accepts mail: a `JobBody`."""

    def __init__(self, settings: ServeSettings, config: Config, order: JobOrder) -> None:
        self._config = config
        self._order = order
        self.metrics = AcceptMetrics()
        self._meter = AcceptMeter(self.metrics)
        self._reporter = AcceptReporter(self.metrics)
        self._engine = open_store(settings.url)
        self._acceptor = Acceptor(
            self._engine,
            capacity=Capacity(
                max_mails=config.serve.max_waiting, max_bytes=config.serve.max_waiting_bytes
            ),
            on_commit=self._note_commit,
            observe=self._reporter.report_delivery,
        )
        self._listeners = Listeners(Router(self._current_config, self._acceptor))

    async def start(self) -> None:
        """Start to accept mail."""
        self._acceptor.start()
        await self._listeners.open(self._config, self._order.listeners)

    async def stop(self) -> None:
        """End the sessions, and commit what they have received."""
        if remaining := await self._listeners.drain(limits.DRAIN):
            log_event("sessions-terminated", logging.WARNING, sessions=remaining)
        await self._listeners.close()
        if not await asyncio.to_thread(self._acceptor.stop, limits.DRAIN):
            log_event("commit-failed", logging.ERROR, reason="the database did not respond in time")
        self._engine.dispose()

    def measure(self) -> None:
        """Bring the metrics up to date."""
        self._meter.add_listeners(self._listeners.stats())
        self._meter.set_waiting(*self._acceptor.waiting)

    def reload(self, config: Config) -> None:
        """Use another configuration. Raises `ListenError`."""
        self._listeners.reload(config)
        self._config = config

    def find_ended(self) -> str | None:
        """Return the name of a part that has ended, or None."""
        return None if self._acceptor.is_alive(0.0) else "acceptor"

    def find_stuck(self, since: float) -> str | None:
        """Return the name of a part that has made no progress since then, or None."""
        return None if self._acceptor.is_alive(since) else "acceptor"

    def find_problem(self, stuck: str | None) -> str | None:
        """Return what is wrong, or None."""
        if self._acceptor.error is not None:
            return f"mail is not accepted: {self._acceptor.error}"
        return stuck

    def _current_config(self) -> Config:
        return self._config

    def _note_commit(self, mails: int) -> None:
        """Tell the process that derives that mail is queued, in the thread that commits."""
        if self._order.wake is not None:
            with suppress(BlockingIOError):  # the pipe is full of bytes that say the same
                os.write(self._order.wake, b"\0")
        self._reporter.report_commit(mails)
