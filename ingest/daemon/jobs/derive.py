"""Derive mail: the deriver and its workers, and what is done to the store at intervals.

The process also measures the queue, archives patches that are done, and keeps the process that
scans repositories.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import logging
import os
import threading
import time
from datetime import timedelta

import zstandard
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.config.settings import Config
from ingest.daemon.deriver import Deriver
from ingest.daemon.dns.stage import DnsStage, make_dns_stage
from ingest.daemon.jobs import limits
from ingest.daemon.jobs.order import JobOrder
from ingest.daemon.jobs.runner import ServeSettings
from ingest.daemon.monitoring.derive_report import DeriveReporter
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.monitoring.meter import DeriveMeter
from ingest.daemon.monitoring.metrics import DeriveMetrics
from ingest.daemon.scans.scanner import Scanner
from ingest.daemon.workers.pipe import memory_limit
from ingest.daemon.workers.pool import WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from ingest.store.activity import archive
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.transactions import measure_queue
from ingest.store.write import record

# Seconds.
_QUEUE_INTERVAL = 10.0  # between two measurements of the queue
_ARCHIVE_INTERVAL = 3600.0  # between two searches for patches to archive
_MAX_DAYS = 36_500  # before now, for which there are dates

# Modules that others import when they first need them are loaded before the first mail: later
# there may be no descriptor to read them with, or another version of them on the disk.
_PRELOADED = (concurrent.futures.thread, record, zstandard)


class DeriveJob:
    """The job that derives mail: a `JobBody`."""

    def __init__(self, settings: ServeSettings, config: Config, order: JobOrder) -> None:
        self._config = config
        self._wake = order.wake
        self.metrics = DeriveMetrics()
        self._meter = DeriveMeter(self.metrics)
        self._engine = open_store(settings.url)
        self._workers = _make_workers(config)
        self._dns_stage = make_dns_stage(self._workers, config.trust)
        self._deriver = Deriver(
            self._engine,
            self._current_config,
            self._dns_stage,
            observe=DeriveReporter(self.metrics).report_derived,
            daemon=order.daemon,
        )
        self._scanner = Scanner(settings.url)

    async def start(self) -> None:
        """Start to derive mail."""
        self._deriver.start()
        self._scanner.start(self._config)
        for name, target in (
            ("queue-metrics", self._measure_queue),
            ("archive", self._archive_patches),
            ("wake", self._read_wake_pipe),
        ):
            # Nobody waits for these: a database may never respond.
            threading.Thread(target=target, name=name, daemon=True).start()

    async def stop(self) -> None:
        """Finish what is being derived, and return the rest to the queue."""
        await asyncio.to_thread(self._scanner.stop)
        if not await asyncio.to_thread(self._deriver.stop, limits.FINISH_DERIVING):
            log_event(
                "claims-not-released",
                logging.WARNING,
                reason="others can claim the mail when the leases expire",
            )
        self._engine.dispose()

    def measure(self) -> None:
        """Bring the metrics up to date."""
        self._meter.add_workers(self._workers.counts())
        if isinstance(self._dns_stage, DnsStage):
            self._meter.add_dns(
                waiting=self._dns_stage.waiting_for_dns, answers=self._dns_stage.answer_counts
            )

    def reload(self, config: Config) -> None:
        """Use another configuration."""
        self._config = config
        self._scanner.reload(config)

    def find_ended(self) -> str | None:
        """Return the name of a part that has ended, or None."""
        return None if self._deriver.is_alive(0.0) else "deriver"

    def find_stuck(self, since: float) -> str | None:
        """Return the name of a part that has made no progress since then, or None.

        A deriver that gets no descriptor from the system for so long is stuck: we may have leaked
        descriptors.
        """
        is_waiting = self._deriver.is_database_error and self._deriver.is_alive(0.0)
        return None if is_waiting or self._deriver.is_alive(since) else "deriver"

    def find_problem(self, stuck: str | None) -> str | None:
        """Return what is wrong, or None."""
        if self._workers.error is not None:
            return f"mail is not derived: {self._workers.error}"
        if stuck is not None:
            return stuck
        return (
            None if self._deriver.error is None else f"mail is not derived: {self._deriver.error}"
        )

    def _current_config(self) -> Config:
        return self._config

    def _read_wake_pipe(self) -> None:
        """Wake the deriver when mail is queued. Without the pipe, it looks by itself."""
        if self._wake is not None:
            while os.read(self._wake, 4096):
                self._deriver.wake()

    def _measure_queue(self) -> None:
        while True:
            try:
                queue = measure_queue(self._engine)
            except (SQLAlchemyError, OSError):
                pass  # the deriver reports what is wrong
            else:
                now = utcnow()
                age = (now - (queue.oldest or now)).total_seconds()
                self._meter.set_queue(queue.lengths, oldest_seconds=max(age, 0.0))
            time.sleep(_QUEUE_INTERVAL)

    def _archive_patches(self) -> None:
        """Archive patches that are done."""
        while True:
            if (days := self._config.serve.archive_days) is not None:
                try:
                    with write_transaction(self._engine) as connection:
                        before = utcnow() - timedelta(days=min(days, _MAX_DAYS))
                        patches = archive.archive_patches(connection, before=before)
                except (SQLAlchemyError, OSError):
                    pass  # the deriver reports what is wrong
                else:
                    if patches:
                        log_event("archived", patches=patches)
            time.sleep(_ARCHIVE_INTERVAL)


def _make_workers(config: Config) -> WorkerPool:
    settings = config.serve
    memory = memory_limit(settings.parse_memory)
    if memory < settings.parse_memory:
        log_event(
            "parse-memory-reduced",
            logging.WARNING,
            bytes=memory,
            reason="the limit of address space (LimitAS, ulimit -v) is below parse_memory",
        )
    worker_limits = WorkerLimits(seconds=settings.parse_seconds, memory=settings.parse_memory)
    return WorkerPool(settings.workers, limits=worker_limits)
