"""Run the daemon: listeners, acceptor, deriver and monitoring, from start to stop.

Input: the URL of the store, and how to read the configuration. Output: an exit status. The daemon
ends on SIGTERM or SIGINT, after it has finished what it has begun. It also ends when a part of it
has failed that it cannot do without, so that the service manager restarts it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import zstandard
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.config.packages import require_configured
from ingest.config.settings import Config, ConfigError
from ingest.config.sockets import InetAddress
from ingest.daemon.acceptor import Acceptor, Capacity
from ingest.daemon.deriver import LAST_WAIT, Deriver
from ingest.daemon.dns.stage import DnsStage, make_dns_stage
from ingest.daemon.listeners import Listeners
from ingest.daemon.lock_file import lock_store
from ingest.daemon.monitoring.log import LOG, configure_log, log_event
from ingest.daemon.monitoring.meter import Meter
from ingest.daemon.monitoring.metrics import Metrics, MetricsServer
from ingest.daemon.monitoring.report import Reporter
from ingest.daemon.monitoring.sd_notify import (
    Alive,
    Notice,
    Ready,
    Reloading,
    Stopping,
    notify,
    watchdog_seconds,
)
from ingest.daemon.router import Router
from ingest.daemon.scanner import Scanner
from ingest.daemon.workers.main import memory_limit
from ingest.daemon.workers.pool import WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from ingest.smtp.server import ListenError
from ingest.store.activity import archive
from ingest.store.engine import open_store, write_transaction
from ingest.store.inbox import deliveries
from ingest.store.inbox.transactions import measure_queue
from ingest.store.write import record

if TYPE_CHECKING:  # installed with the extra `api` only
    from ingest.api.server import ApiServer

# Seconds. A thread without progress for so long is stuck: the transaction of a batch takes a
# fraction of a second, and waits for the locks of others for `BUSY_SECONDS` at most.
_STUCK_SECONDS = 120.0
_TICK = 1.0
_QUEUE_INTERVAL = 10.0  # between two measurements of the queue
_ARCHIVE_INTERVAL = 3600.0  # between two searches for patches to archive
_MAX_DAYS = 36_500  # before now, for which there are dates
_DRAIN = 30.0  # for sessions to end, and again for their mail to be committed
_FINISH_DERIVING = 10.0  # for mail that is being derived
# The longest shutdown: sessions, commits, mail being derived, and the rest of a transaction. Wait
# longer than this between SIGTERM and SIGKILL.
MAX_SHUTDOWN_SECONDS = 2 * _DRAIN + _FINISH_DERIVING + LAST_WAIT

# Modules that others import when they first need them are loaded before the first mail: later
# there may be no descriptor to read them with, or another version of them on the disk.
_PRELOADED = (concurrent.futures.thread, record, deliveries, zstandard)

EX_SOFTWARE = 70


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`url`: of the store; `load`: reads the configuration, and raises `ConfigError`."""

    url: str
    load: Callable[[], Config]
    environ: Mapping[str, str]


def serve(settings: ServeSettings) -> int:
    """Run the daemon until it is stopped, and return its exit status.

    Raises `StoreError`, `ConfigError` and `ListenError` where it cannot start.
    """
    threading.excepthook = _log_thread_error
    return asyncio.run(_Daemon(settings).run())


def _log_thread_error(failure: threading.ExceptHookArgs) -> None:
    """Log an internal error that has ended a thread.

    Python would print it in another form than the log has. If the daemon cannot do without the
    thread, `_watch` notices within a second.
    """
    assert failure.exc_value is not None
    LOG.critical(
        "thread-failed",
        exc_info=failure.exc_value,
        extra={"values": {"thread": failure.thread.name if failure.thread else None}},
    )


class _Daemon:
    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._config = settings.load()
        require_configured(self._config)
        serve_config = self._config.serve
        configure_log(serve_config.log, environ=settings.environ)
        self._lock_descriptor = lock_store(settings.url)
        self._engine = open_store(settings.url, create=True)
        # PostgreSQL: connections of its own, which never wait for one that derives. In SQLite
        # the writers of one engine take turns.
        has_own_engine = self._engine.dialect.name == "postgresql"
        self._acceptor_engine = open_store(settings.url) if has_own_engine else self._engine
        self._api_engine: Engine | None = None
        self._api: ApiServer | None = None
        self._stop = asyncio.Event()
        self._metrics = Metrics(CollectorRegistry())
        self._meter = Meter(self._metrics)
        reporter = Reporter(self._metrics)
        self._workers = _make_workers(self._config)
        self._dns_stage = make_dns_stage(self._workers, self._config.trust)
        self._deriver = Deriver(
            self._engine, self._current_config, self._dns_stage, observe=reporter.report_derived
        )

        def on_commit(mails: int) -> None:
            self._deriver.wake()
            reporter.report_commit(mails)

        self._acceptor = Acceptor(
            self._acceptor_engine,
            capacity=Capacity(
                max_mails=serve_config.max_waiting, max_bytes=serve_config.max_waiting_bytes
            ),
            on_commit=on_commit,
            observe=reporter.report_delivery,
        )
        self._listeners = Listeners(Router(self._current_config, self._acceptor))
        self._scanner = Scanner(settings.url)
        self._queue_thread = threading.Thread(
            target=self._measure_queue, name="queue-metrics", daemon=True
        )
        self._archive_thread = threading.Thread(
            target=self._archive_patches, name="archive", daemon=True
        )

    def _current_config(self) -> Config:
        return self._config

    async def run(self) -> int:
        """Run until stopped. Parts are stopped in the reverse of the order of their start."""
        async with AsyncExitStack() as shutdown:
            shutdown.callback(self._close_store)
            self._api = self._make_api()
            if self._api is not None:
                shutdown.push_async_callback(asyncio.to_thread, self._api.stop)
            metrics_server = self._make_metrics_server(self._config.serve.metrics)
            if metrics_server is not None:
                shutdown.callback(metrics_server.stop)
            shutdown.push_async_callback(self._stop_deriving)
            self._deriver.start()
            shutdown.push_async_callback(asyncio.to_thread, self._scanner.stop)
            self._scanner.start(self._config)
            shutdown.push_async_callback(self._stop_accepting)
            self._acceptor.start()
            shutdown.push_async_callback(self._stop_listening)
            await self._listeners.open(self._config, self._settings.environ)
            if metrics_server is not None:
                metrics_server.start()
            if self._api is not None:
                self._api.start()
                log_event("api-started", address=self._api.address)
            self._handle_signals()
            self._queue_thread.start()
            self._archive_thread.start()
            self._notify(Ready(self._status()))
            log_event("started", addresses=", ".join(self._listeners.addresses))
            status = await self._watch()
            log_event("stopping")
            self._notify(Stopping())
        log_event("stopped")
        return status

    def _make_metrics_server(self, address: InetAddress | None) -> MetricsServer | None:
        if address is None:
            return None
        return MetricsServer(address, self._metrics, self._check_health)

    def _make_api(self) -> ApiServer | None:
        """Make the API server where `[api]` is configured.

        With PostgreSQL it has connections of its own: its queries have a time limit, and do not
        wait for the deriver.
        """
        if self._config.api is None:
            return None
        from ingest.api.server import ApiServer

        engine = self._engine
        if engine.dialect.name == "postgresql":
            engine = self._api_engine = open_store(self._settings.url)
        return ApiServer(engine, self._current_config)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _status(self) -> str:
        return f"listening at {', '.join(self._listeners.addresses)}"

    # --- running ---

    async def _watch(self) -> int:
        """Update the metrics and send keep-alive messages until the daemon is to stop."""
        interval = watchdog_seconds(self._settings.environ, pid=os.getpid())
        last_alive = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            self._measure()
            stuck = self._find_stuck(now)
            if stuck is not None and not self._has_all_threads():
                log_event("component-failed", logging.CRITICAL, component=stuck)
                return EX_SOFTWARE
            if interval is not None and stuck is None and now - last_alive >= interval:
                self._notify(Alive())
                last_alive = now
            try:
                await asyncio.wait_for(self._stop.wait(), min(_TICK, interval or _TICK))
            except TimeoutError:
                continue
        return 0

    def _has_all_threads(self) -> bool:
        return self._acceptor.is_alive(0.0) and self._deriver.is_alive(0.0)

    def _find_stuck(self, now: float) -> str | None:
        """Return the name of the part that makes no progress any more, or None.

        A part that waits for an unavailable or locked database is not stuck: a restart would not
        help, and while the daemon runs the senders get 451 and keep their mail. A part that gets
        no descriptor from the system for so long is stuck: we may have leaked descriptors.
        """
        if not self._acceptor.is_alive(now - _STUCK_SECONDS):
            return "acceptor"
        is_waiting = self._deriver.is_database_error and self._deriver.is_alive(0.0)
        if not is_waiting and not self._deriver.is_alive(now - _STUCK_SECONDS):
            return "deriver"
        return None

    def _check_health(self) -> str | None:
        """Return what is wrong, for /healthz. Called in another thread."""
        if self._acceptor.error is not None:
            return f"mail is not accepted: {self._acceptor.error}"
        if self._workers.error is not None:
            return f"mail is not derived: {self._workers.error}"
        stuck = self._find_stuck(time.monotonic())
        if stuck is not None:
            return f"the {stuck} makes no progress"
        if self._deriver.error is not None:
            return f"mail is not derived: {self._deriver.error}"
        if self._api is not None and not self._api.alive():
            return "the API has ended"
        return None

    def _measure(self) -> None:
        self._meter.add_listeners(self._listeners.stats())
        self._meter.add_workers(self._workers.counts())
        if isinstance(self._dns_stage, DnsStage):
            self._meter.add_dns(
                waiting=self._dns_stage.waiting_for_dns, answers=self._dns_stage.answer_counts
            )
        self._meter.set_waiting(*self._acceptor.waiting)

    def _measure_queue(self) -> None:
        """Measure the queue in a thread that nobody waits for: a database may never respond."""
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
        """Archive patches that are done, in a thread that nobody waits for."""
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

    def _reload(self) -> None:
        """Read the configuration again (SIGHUP). If it has errors, the old one stays in use."""
        self._notify(Reloading(time.monotonic_ns() // 1000))
        try:
            config = self._settings.load()
            require_configured(config)
            self._listeners.reload(config)
        except (ConfigError, ListenError) as error:
            log_event("reload-failed", logging.ERROR, reason=str(error))
        else:
            if changed := _find_restart_settings(self._config, config):
                log_event("restart-required", logging.WARNING, settings=", ".join(changed))
            self._config = config
            self._scanner.reload(config)
            log_event("reloaded")
        self._notify(Ready(self._status()))

    def _notify(self, notice: Notice) -> None:
        notify(notice, self._settings.environ)

    # --- shutdown ---

    async def _stop_listening(self) -> None:
        if remaining := await self._listeners.drain(_DRAIN):
            log_event("sessions-terminated", logging.WARNING, sessions=remaining)
        await self._listeners.close()

    async def _stop_accepting(self) -> None:
        if not await asyncio.to_thread(self._acceptor.stop, _DRAIN):
            log_event("commit-failed", logging.ERROR, reason="the database did not respond in time")

    async def _stop_deriving(self) -> None:
        if not await asyncio.to_thread(self._deriver.stop, _FINISH_DERIVING):
            log_event(
                "claims-not-released",
                logging.WARNING,
                reason="others can claim the mail when the leases expire",
            )

    def _close_store(self) -> None:
        for engine in (self._api_engine, self._acceptor_engine, self._engine):
            if engine is not None:
                engine.dispose()
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)


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
    limits = WorkerLimits(seconds=settings.parse_seconds, memory=settings.parse_memory)
    return WorkerPool(settings.workers, limits=limits)


# Settings that take effect at a reload; the others are read at the start.
_RELOADABLE = frozenset(
    {
        "allowed_networks", "hostname", "max_size", "max_connections", "max_recipients",
        "tls_certificate", "tls_key", "recipients", "recipient_delimiter", "scan_interval",
        "archive_days",
    }
)  # fmt: skip


def _find_restart_settings(old: Config, new: Config) -> list[str]:
    """Return the changed settings that take effect at the next start."""
    changed = [
        name
        for name in old.serve.__dataclass_fields__
        if name not in _RELOADABLE and getattr(old.serve, name) != getattr(new.serve, name)
    ]
    changed += [
        name
        for name in ("dns", "nameservers")
        if getattr(old.trust, name) != getattr(new.trust, name)
    ]
    old_api, new_api = (
        None if api is None else (api.listen, api.rate, api.burst) for api in (old.api, new.api)
    )
    if old_api != new_api:
        changed.append("api")
    return [*changed, "database"] if old.database != new.database else changed
