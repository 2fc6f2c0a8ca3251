"""Run the daemon: bind its addresses, start a process for each job, and supervise them.

Input: the URL of the store, and how to read the configuration. Output: an exit status. Accepting,
deriving and the API share nothing but the database, so that a crash or a slow query in one does not
stop the others. This parent restarts them, reports their health, and sends systemd its keep-alive
messages while all of them make progress. It ends on SIGTERM or SIGINT, after they have finished
what they have begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from ingest.api.address import bind_api, format_urls
from ingest.config.packages import require_configured
from ingest.config.settings import Config, ConfigError
from ingest.daemon.addresses import bind_listeners, tls_context
from ingest.daemon.identity import make_identity
from ingest.daemon.jobs import limits
from ingest.daemon.jobs.order import BoundListener, Job, JobOrder
from ingest.daemon.jobs.process import JobProcess, JobStartError
from ingest.daemon.jobs.runner import EX_SOFTWARE, ServeSettings
from ingest.daemon.lock_file import lock_store
from ingest.daemon.monitoring.log import configure_log, log_event
from ingest.daemon.monitoring.metrics import JobMetrics, MetricsServer
from ingest.daemon.monitoring.sd_notify import (
    Alive,
    Notice,
    Ready,
    Reloading,
    Stopping,
    notify,
    watchdog_seconds,
)
from ingest.net.bind import Endpoint, ListenError
from ingest.store.database.engine import open_store

_TICK = 1.0  # seconds between two looks at the jobs
_HTTP_SECONDS = 10.0  # for the jobs to respond to /metrics and /healthz

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `jobs`: none for all; `command`: what starts this program, up to `--job`."""

    jobs: Collection[Job]
    command: Sequence[str]


def serve(settings: ServeSettings, launch: Launch) -> int:
    """Run the daemon until it is stopped, and return its exit status.

    Raises `StoreError`, `ConfigError` and `ListenError` where it cannot start.
    """
    return asyncio.run(_Daemon(settings, launch).run())


class _Daemon:
    def __init__(self, settings: ServeSettings, launch: Launch) -> None:
        self._settings = settings
        self._command = launch.command
        self._config = settings.load()
        require_configured(self._config)
        self._wanted = _choose_jobs(launch.jobs, self._config)
        configure_log(self._config.serve.log, environ=settings.environ)
        tls_context(self._config)
        self._stop = asyncio.Event()
        self._metrics = JobMetrics()
        self._jobs: dict[Job, JobProcess] = {}
        self._listeners: Sequence[BoundListener] = ()
        self._api: Endpoint | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run until stopped. Parts are stopped in the reverse of the order of their start."""
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as shutdown:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop.set)
            inherited = self._lock_store(shutdown)
            open_store(self._settings.url, create=True).dispose()
            metrics_server = self._make_metrics_server(shutdown)
            orders = self._make_orders(shutdown)
            self._jobs = {
                job: JobProcess(
                    job,
                    order,
                    self._command,
                    descriptors=inherited,
                    on_restart=self._metrics.restarts.labels(job).inc,
                )
                for job, order in orders.items()
            }
            shutdown.push_async_callback(self._stop_jobs)
            try:
                await self._start_jobs()
            except JobStartError as error:  # the process has said why
                return error.status if error.status > 0 else EX_SOFTWARE
            if not self._stop.is_set():
                await self._run_jobs(metrics_server)
        log_event("stopped")
        return 0

    async def _run_jobs(self, metrics_server: MetricsServer | None) -> None:
        """Report that the daemon has started, and watch its jobs until it is to stop."""
        if metrics_server is not None:
            metrics_server.start()
        self._loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
        if self._api is not None:
            log_event("api-started", address=format_urls(self._api))
        log_event("started", addresses=", ".join(self._addresses))
        self._notify(Ready(self._status()))
        await self._watch()
        log_event("stopping")
        self._notify(Stopping())

    @property
    def _addresses(self) -> list[str]:
        return [address for item in self._listeners for address in item.addresses]

    def _status(self) -> str:
        if not self._listeners:
            return f"running {', '.join(self._jobs)}"
        return f"listening at {', '.join(self._addresses)}"

    # --- start ---

    def _lock_store(self, shutdown: AsyncExitStack) -> Sequence[int]:
        """Lock an SQLite store, of which one process may derive mail.

        Returns the descriptors that hold the lock. The jobs inherit them, so that no other daemon
        starts while one of them runs.
        """
        if Job.DERIVE not in self._wanted:
            return ()
        descriptor = lock_store(self._settings.url)
        if descriptor is None:
            return ()
        shutdown.callback(os.close, descriptor)
        return (descriptor,)

    def _make_metrics_server(self, shutdown: AsyncExitStack) -> MetricsServer | None:
        address = self._config.serve.metrics
        if address is None:
            return None
        server = MetricsServer(
            address,
            lambda: self._wait_for(self._render_metrics()),
            lambda: self._wait_for(self._find_problem()),
        )
        shutdown.callback(server.stop)
        return server

    def _make_orders(self, shutdown: AsyncExitStack) -> Mapping[Job, JobOrder]:
        """Bind the addresses, and return what the process of each job gets."""
        orders: dict[Job, JobOrder] = {}
        identity = make_identity()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for descriptor in (reading, writing):
            shutdown.callback(os.close, descriptor)
        if Job.ACCEPT in self._wanted:
            self._listeners = bind_listeners(self._config, self._settings.environ)
            for item in self._listeners:
                shutdown.callback(item.endpoint.close)
            orders[Job.ACCEPT] = JobOrder(listeners=self._listeners, wake=writing)
        if Job.DERIVE in self._wanted:
            orders[Job.DERIVE] = JobOrder(wake=reading, daemon=identity)
        if Job.API in self._wanted:
            assert self._config.api is not None
            self._api = bind_api(self._config.api)
            shutdown.callback(self._api.close)
            orders[Job.API] = JobOrder(api=self._api)
        return orders

    async def _start_jobs(self) -> None:
        """Start the processes, and wait until all have started or the daemon is to stop.

        Raises `JobStartError`.
        """
        stop = asyncio.create_task(self._stop.wait())
        starts = [asyncio.create_task(process.start()) for process in self._jobs.values()]
        remaining: set[asyncio.Task[Any]] = {*starts}
        try:
            while remaining and not stop.done():
                done, remaining = await asyncio.wait(
                    {*remaining, stop}, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                remaining.discard(stop)
        finally:
            for task in (stop, *starts):
                task.cancel()
            await asyncio.gather(stop, *starts, return_exceptions=True)

    # --- running ---

    async def _watch(self) -> None:
        """Send keep-alive messages until the daemon is to stop."""
        interval = watchdog_seconds(self._settings.environ, pid=os.getpid())
        last_alive = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            is_due = interval is not None and now - last_alive >= interval
            if is_due and all(process.makes_progress for process in self._jobs.values()):
                self._notify(Alive())
                last_alive = now
            try:
                await asyncio.wait_for(self._stop.wait(), min(_TICK, interval or _TICK))
            except TimeoutError:
                continue

    def _wait_for(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run this in the event loop and return its result; called in another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_HTTP_SECONDS)

    async def _find_problem(self) -> str | None:
        """Return what is wrong, for /healthz."""
        problems = await asyncio.gather(
            *(process.find_problem() for process in self._jobs.values())
        )
        return next(filter(None, problems), None)

    async def _render_metrics(self) -> bytes:
        """Return the metrics of all processes that respond."""
        processes = self._jobs.values()
        texts = await asyncio.gather(*(process.read_metrics() for process in processes))
        for process, text in zip(processes, texts, strict=True):
            self._metrics.up.labels(process.job).set(text is not None)
        return self._metrics.text() + "".join(filter(None, texts)).encode()

    def _begin_reload(self) -> None:
        task = self._loop.create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        """Read the configuration again (SIGHUP). If it has errors, the old one stays in use."""
        self._notify(Reloading(time.monotonic_ns() // 1000))
        try:
            config = self._settings.load()
            require_configured(config)
            tls_context(config)
            await self._reload_jobs()
        except (ConfigError, ListenError) as error:
            log_event("reload-failed", logging.ERROR, reason=str(error))
        else:
            if changed := _find_restart_settings(self._config, config):
                log_event("restart-required", logging.WARNING, settings=", ".join(changed))
            self._config = config
            log_event("reloaded")
        self._notify(Ready(self._status()))

    async def _reload_jobs(self) -> None:
        """Make the jobs read the configuration again. Raises `ConfigError` where one cannot."""
        errors = await asyncio.gather(*(process.reload() for process in self._jobs.values()))
        if error := next(filter(None, errors), None):
            raise ConfigError(error)

    def _notify(self, notice: Notice) -> None:
        notify(notice, self._settings.environ)

    # --- shutdown ---

    async def _stop_jobs(self) -> None:
        """Stop accepting mail, and then everything else."""
        for task in [*self._tasks]:
            task.cancel()
        for group in ((Job.ACCEPT,), (Job.DERIVE, Job.API)):
            processes = [self._jobs[job] for job in group if job in self._jobs]
            stops = (process.stop(limits.stop_seconds(process.job)) for process in processes)
            await asyncio.gather(*stops)


def _choose_jobs(wanted: Collection[Job], config: Config) -> frozenset[Job]:
    """Return the jobs to run. Raises `ConfigError` where the API is wanted and not configured."""
    if Job.API in wanted and config.api is None:
        raise ConfigError("there is no [api] in the configuration, which the job `api` needs")
    configured = frozenset(Job) if config.api is not None else frozenset(Job) - {Job.API}
    return frozenset(wanted) or configured


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
