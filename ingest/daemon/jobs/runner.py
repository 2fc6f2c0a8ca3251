"""Run one job of the daemon in this process, from its order to its stop.

SIGTERM stops the job: it finishes what it has begun. If a part of it ends by an internal error, the
process ends with status 70, and the parent starts another.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ingest.collector import loading
from ingest.config.packages import require_configured
from ingest.config.settings import Config, ConfigError
from ingest.daemon.jobs import limits
from ingest.daemon.jobs.channel import STARTED, Channel, Request, Respond
from ingest.daemon.jobs.order import Job, JobOrder
from ingest.daemon.monitoring.log import LOG, configure_log, log_event
from ingest.daemon.monitoring.metrics import Metrics
from ingest.net.bind import ListenError

_TICK = 1.0  # seconds between two looks at the parts of the job

EX_SOFTWARE = 70


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`url`: of the store; `load`: reads the configuration, and raises `ConfigError`."""

    url: str
    load: Callable[[], Config]
    environ: Mapping[str, str]


class JobBody(Protocol):
    """What a job does. All methods but the checks are called in the event loop."""

    @property
    def metrics(self) -> Metrics:
        """The metrics of the job."""

    async def start(self) -> None:
        """Start. Raises `ListenError`."""

    async def stop(self) -> None:
        """Finish what has begun, and end. Called once, also where the start has failed."""

    def measure(self) -> None:
        """Bring the metrics up to date; called each second."""

    def reload(self, config: Config) -> None:
        """Use another configuration. Raises `ListenError`, and then nothing has changed."""

    def find_ended(self) -> str | None:
        """Return the name of a part that has ended, or None."""

    def find_stuck(self, since: float) -> str | None:
        """Return the name of a part that has made no progress since then, or None.

        `since` is a time of `time.monotonic`. A part that waits for an unavailable or locked
        database is not stuck: a restart would not help. May be called from any thread.
        """

    def find_problem(self, stuck: str | None) -> str | None:
        """Return what is wrong, for /healthz, or None. May be called from any thread.

        `stuck`: what is wrong where a part is stuck, None where none is.
        """


MakeBody = Callable[[ServeSettings, Config, JobOrder], JobBody]


def run_job(job: Job, descriptor: int, settings: ServeSettings) -> int:
    """Run a job until it is stopped, and return the exit status of the process.

    `descriptor`: of the channel to the parent. Raises what the start of the job raises.
    """
    threading.excepthook = log_thread_error
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the parent, which asks to reload
    channel = Channel(descriptor)
    config = settings.load()
    require_configured(config)
    configure_log(config.serve.log, environ=settings.environ)
    with loading():
        make_body = _find_body(job)
    body = make_body(settings, config, channel.receive_order())
    return asyncio.run(_Runner(body, channel, settings).run())


def log_thread_error(failure: threading.ExceptHookArgs) -> None:
    """Log an internal error that has ended a thread.

    Python would print it in another form than the log has. If the job cannot do without the
    thread, `_Runner` notices within a second.
    """
    assert failure.exc_value is not None
    LOG.critical(
        "thread-failed",
        exc_info=failure.exc_value,
        extra={"values": {"thread": failure.thread.name if failure.thread else None}},
    )


def _find_body(job: Job) -> MakeBody:
    """Return the class of a job. A process imports the one that it runs."""
    match job:
        case Job.ACCEPT:
            from ingest.daemon.jobs.accept import AcceptJob

            return AcceptJob
        case Job.DERIVE:
            from ingest.daemon.jobs.derive import DeriveJob

            return DeriveJob
        case Job.API:
            from ingest.daemon.jobs.api import ApiJob

            return ApiJob


class _Runner:
    def __init__(self, body: JobBody, channel: Channel, settings: ServeSettings) -> None:
        self._body = body
        self._channel = channel
        self._settings = settings
        self._stop = asyncio.Event()

    async def run(self) -> int:
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        try:
            await self._body.start()
            # A full collection of garbage would examine all modules, perhaps while a transaction
            # that writes is open.
            gc.collect()
            gc.freeze()
            self._channel.start(self._handle)
            self._channel.respond(STARTED, {})
            return await self._watch()
        finally:
            await self._body.stop()

    async def _watch(self) -> int:
        while not self._stop.is_set():
            self._body.measure()
            ended = self._body.find_ended()
            if ended is not None:
                log_event("component-failed", logging.CRITICAL, component=ended)
                return EX_SOFTWARE
            try:
                await asyncio.wait_for(self._stop.wait(), _TICK)
            except TimeoutError:
                continue
        return 0

    def _handle(self, request: Request, respond: Respond) -> None:
        """Handle a request of the parent, in the thread of the channel."""
        match request:
            case Request.REPORT:
                part = self._body.find_stuck(time.monotonic() - limits.STUCK)
                stuck = None if part is None else f"the {part} makes no progress"
                respond({"stuck": stuck, "problem": self._body.find_problem(stuck)})
            case Request.METRICS:
                respond({"text": self._body.metrics.text().decode()})
            case Request.RELOAD:
                self._loop.call_soon_threadsafe(self._reload, respond)

    def _reload(self, respond: Respond) -> None:
        try:
            config = self._settings.load()
            require_configured(config)
            self._body.reload(config)
        except (ConfigError, ListenError) as error:
            respond({"error": str(error)})
        else:
            respond({"error": None})
