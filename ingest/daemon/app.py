"""The daemon: listeners, acceptor, deriver and what watches over them, from start to stop.

Input: where the store is, and how to read the configuration. Output: an exit status. It ends
when it is told to (SIGTERM, SIGINT), after what was begun is finished, or when a part of it has
ended that must not, so that the service manager starts it anew.
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
from typing import TYPE_CHECKING

import zstandard
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.config.file import Config, ConfigError
from ingest.config.packages import require_configured
from ingest.config.values import InetAddress
from ingest.daemon.acceptor import Acceptor, Capacity
from ingest.daemon.deriver import LAST_WAIT, Deriver
from ingest.daemon.dns.stage import DnsStage, make_dns_stage
from ingest.daemon.listeners import Listeners
from ingest.daemon.lock_file import lock_store
from ingest.daemon.monitoring.log import LOG, log_event, start_log
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
from ingest.daemon.workers.main import memory_limit
from ingest.daemon.workers.pool import WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from ingest.smtp.server import ListenError
from ingest.store.engine import open_store
from ingest.store.inbox import deliveries
from ingest.store.inbox.quarantine import queue_lengths
from ingest.store.inbox.queue import oldest_waiting
from ingest.store.write import record

if TYPE_CHECKING:  # it is there where the extra `api` is installed
    from ingest.api.server import ApiServer

# Seconds. A thread that has not come round for so long is stuck: a transaction of a batch takes
# a fraction of a second, and waits for the locks of others for `BUSY_SECONDS` at most.
_STUCK = 120.0
_TICK = 1.0
_DEPTH = 10.0  # between two looks at the queue's length
_DRAIN = 30.0  # for sessions to end, and again for what they brought to be committed
_LET_GO = 10.0  # for what is being derived
# That ending takes at most: sessions, commits, what is derived, and the rest of a transaction.
# Whoever sends SIGTERM should wait longer than this before SIGKILL.
MAX_SHUTDOWN_SECONDS = 2 * _DRAIN + _LET_GO + LAST_WAIT

# What others import when they first need it is there before the first mail: later there may be no
# descriptor to read it with, or another version of it on the disk.
_NEEDED = (concurrent.futures.thread, record, deliveries, zstandard)

EX_SOFTWARE = 70


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`url`: of the store; `load`: reads the configuration, and raises `ConfigError`."""

    url: str
    load: Callable[[], Config]
    environ: Mapping[str, str]


def serve(settings: ServeSettings) -> int:
    """Run until told to stop. Returns the exit status. Raises `StoreError`, `ConfigError` and
    `ListenError` where it cannot start.
    """
    threading.excepthook = _thread_ended
    return asyncio.run(_Daemon(settings).run())


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    """A defect of ours has ended a thread. Into the log, where Python would write beside it; what
    the daemon cannot do without, `_watch` misses within a second.
    """
    assert ended.exc_value is not None
    LOG.critical(
        "thread-ended",
        exc_info=ended.exc_value,
        extra={"values": {"part": ended.thread.name if ended.thread else None}},
    )


class _Daemon:
    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._config = settings.load()
        require_configured(self._config)
        serving = self._config.serve
        start_log(serving.log, environ=settings.environ)
        self._owned = lock_store(settings.url)
        self._engine = open_store(settings.url, create=True)
        # PostgreSQL: connections of its own, which never wait for one that derives. In SQLite
        # the writers of one engine take turns.
        own_engine = self._engine.dialect.name == "postgresql"
        self._accepting = open_store(settings.url) if own_engine else self._engine
        self._asked: Engine | None = None
        self._api: ApiServer | None = None
        self._stop = asyncio.Event()
        self._metrics = Metrics(CollectorRegistry())
        self._meter = Meter(self._metrics)
        reporter = Reporter(self._metrics)
        memory = memory_limit(serving.parse_memory)
        if memory < serving.parse_memory:
            log_event(
                "parse-memory-bounded",
                logging.WARNING,
                bytes=memory,
                reason="the limit of address space (LimitAS, ulimit -v) is below parse_memory",
            )
        self._workers = WorkerPool(
            serving.workers,
            limits=WorkerLimits(seconds=serving.parse_seconds, memory=serving.parse_memory),
        )
        self._vouched = make_dns_stage(self._workers, self._config.trust)
        self._deriver = Deriver(
            self._engine, self._now_configured, self._vouched, observe=reporter.derived
        )

        def committed(mails: int) -> None:
            self._deriver.wake()
            reporter.committed(mails)

        self._acceptor = Acceptor(
            self._accepting,
            room=Capacity(mails=serving.max_waiting, octets=serving.max_waiting_bytes),
            committed=committed,
            observe=reporter.received,
        )
        self._listeners = Listeners(Router(self._now_configured, self._acceptor))
        self._queue_gauge = threading.Thread(target=self._gauge_queue, name="gauge", daemon=True)

    def _now_configured(self) -> Config:
        return self._config

    async def run(self) -> int:
        """Each part is ended in the order opposite to the one in which it was begun."""
        async with AsyncExitStack() as ending:
            ending.callback(self._close_store)
            self._api = self._make_api()
            if self._api is not None:
                ending.push_async_callback(asyncio.to_thread, self._api.stop)
            http = self._http(self._config.serve.metrics)
            if http is not None:
                ending.callback(http.stop)
            ending.push_async_callback(self._stop_deriving)
            self._deriver.start()
            ending.push_async_callback(self._stop_accepting)
            self._acceptor.start()
            ending.push_async_callback(self._stop_listening)
            await self._listeners.open(self._config, self._settings.environ)
            if http is not None:
                http.start()
            if self._api is not None:
                self._api.start()
                log_event("api-started", address=self._api.address)
            self._heed_signals()
            self._queue_gauge.start()
            self._say(Ready(self._greeting()))
            log_event("started", addresses=", ".join(self._listeners.addresses))
            status = await self._watch()
            log_event("stopping")
            self._say(Stopping())
        log_event("stopped")
        return status

    def _http(self, address: InetAddress | None) -> MetricsServer | None:
        return None if address is None else MetricsServer(address, self._metrics, self._ill)

    def _make_api(self) -> ApiServer | None:
        """Where `[api]` is configured. In PostgreSQL its connections are its own: what is asked
        there has a limit of time, and waits for nobody who derives.
        """
        if self._config.api is None:
            return None
        from ingest.api.server import ApiServer

        engine = self._engine
        if engine.dialect.name == "postgresql":
            engine = self._asked = open_store(self._settings.url)
        return ApiServer(engine, self._now_configured)

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _greeting(self) -> str:
        return f"listening at {', '.join(self._listeners.addresses)}"

    # --- running ---

    async def _watch(self) -> int:
        """Until it is to stop: pass the numbers on, and feed the watchdog while all is well."""
        feed = watchdog_seconds(self._settings.environ, pid=os.getpid())
        fed = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            self._measure()
            stuck = self._stuck(now)
            if stuck is not None and not self._running():
                log_event("part-ended", logging.CRITICAL, part=stuck)
                return EX_SOFTWARE
            if feed is not None and stuck is None and now - fed >= feed:
                self._say(Alive())
                fed = now
            try:
                await asyncio.wait_for(self._stop.wait(), min(_TICK, feed or _TICK))
            except TimeoutError:
                continue
        return 0

    def _running(self) -> bool:
        return self._acceptor.alive(0.0) and self._deriver.alive(0.0)

    def _stuck(self, now: float) -> str | None:
        """The part that does not come round any more.

        A database that is away, or locked, is none: to start anew would not bring it back, and
        while the daemon lives the senders hear 451 and keep their mail. A system that gives us no
        descriptor for so long is one: we may have leaked what we had.
        """
        if not self._acceptor.alive(now - _STUCK):
            return "acceptor"
        away = self._deriver.away and self._deriver.alive(0.0)
        if not away and not self._deriver.alive(now - _STUCK):
            return "deriver"
        return None

    def _ill(self) -> str | None:
        """For /healthz, from another thread."""
        if self._acceptor.trouble is not None:
            return f"mail is not accepted: {self._acceptor.trouble}"
        if self._workers.trouble is not None:
            return f"mail is not derived: {self._workers.trouble}"
        stuck = self._stuck(time.monotonic())
        if stuck is not None:
            return f"the {stuck} does not get on"
        if self._deriver.trouble is not None:
            return f"mail is not derived: {self._deriver.trouble}"
        if self._api is not None and not self._api.alive():
            return "the API has ended"
        return None

    def _measure(self) -> None:
        self._meter.listeners(self._listeners.stats())
        self._meter.workers(self._workers.counts())
        if isinstance(self._vouched, DnsStage):
            self._meter.dns(waiting=self._vouched.asking, answered=self._vouched.answered)
        self._meter.waiting(*self._acceptor.waiting)

    def _gauge_queue(self) -> None:
        """In a thread of its own, which nobody waits for: a database may never answer."""
        while True:
            try:
                with self._engine.connect() as connection:
                    found, oldest = queue_lengths(connection), oldest_waiting(connection)
            except (SQLAlchemyError, OSError):
                pass  # the deriver says what is wrong
            else:
                age = (utcnow() - oldest).total_seconds() if oldest is not None else 0.0
                self._meter.queue(found, oldest_seconds=max(age, 0.0))
            time.sleep(_DEPTH)

    def _reload(self) -> None:
        """SIGHUP: read the configuration anew. What cannot be used leaves the old one."""
        self._say(Reloading(time.monotonic_ns() // 1000))
        try:
            config = self._settings.load()
            require_configured(config)
            self._listeners.reload(config)
        except (ConfigError, ListenError) as error:
            log_event("reload-failed", logging.ERROR, reason=str(error))
        else:
            if waits := _needs_restart(self._config, config):
                log_event("restart-needed", logging.WARNING, settings=", ".join(waits))
            self._config = config
            log_event("reloaded")
        self._say(Ready(self._greeting()))

    def _say(self, notice: Notice) -> None:
        notify(notice, self._settings.environ)

    # --- ending ---

    async def _stop_listening(self) -> None:
        if left := await self._listeners.drain(_DRAIN):
            log_event("sessions-cut", logging.WARNING, sessions=left)
        await self._listeners.close()

    async def _stop_accepting(self) -> None:
        if not await asyncio.to_thread(self._acceptor.stop, _DRAIN):
            log_event("not-committed", logging.ERROR, reason="the database did not answer in time")

    async def _stop_deriving(self) -> None:
        if not await asyncio.to_thread(self._deriver.stop, _LET_GO):
            log_event("left-in-hand", logging.WARNING, reason="it is free when its lease is over")

    def _close_store(self) -> None:
        for engine in (self._asked, self._accepting, self._engine):
            if engine is not None:
                engine.dispose()
        if self._owned is not None:
            os.close(self._owned)


# Settings that a running daemon takes; the others are read at its start.
_LIVE = frozenset(
    {
        "allowed_networks", "hostname", "max_size", "max_connections", "max_recipients",
        "tls_certificate", "tls_key", "recipients", "recipient_delimiter",
    }
)  # fmt: skip


def _needs_restart(old: Config, new: Config) -> list[str]:
    """What has changed and takes effect at the next start."""
    changed = [
        name
        for name in old.serve.__dataclass_fields__
        if name not in _LIVE and getattr(old.serve, name) != getattr(new.serve, name)
    ]
    changed += [
        name
        for name in ("dns", "nameservers")
        if getattr(old.trust, name) != getattr(new.trust, name)
    ]
    bound = [
        None if one is None else (one.listen, one.rate, one.burst) for one in (old.api, new.api)
    ]
    if bound[0] != bound[1]:
        changed.append("api")
    return [*changed, "database"] if old.database != new.database else changed
