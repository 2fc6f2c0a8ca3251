"""Supervise the process of one job: start it, query it, restart it, and end it.

A process that ends by itself is started again, at once after the first time and after longer and
longer pauses if that goes on. A process that does not respond, or says that it is stuck, is killed
first: it may hold a lock that the others wait for.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingest.daemon.jobs import limits
from ingest.daemon.jobs.channel import Request, Response
from ingest.daemon.jobs.connection import Connection, open_connection
from ingest.daemon.jobs.order import Job, JobOrder
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.restart import compute_delay

# Seconds.
_TICK = 1.0  # between two reports
_FRESH_SECONDS = 3.0  # after which a report no longer says that the process makes progress
_RELOAD_SECONDS = 30.0


class JobStartError(Exception):
    """The process has ended before it has started its job, and has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Report:
    """What the process reports: what is wrong with it, and that a part of it is stuck."""

    problem: str | None
    stuck: str | None


class JobProcess:
    """The process of a job, and its successors. Belongs to the event loop.

    `command`: what starts a process, before the option that names the job; `descriptors`: what it
    inherits besides those of its order.
    """

    def __init__(
        self,
        job: Job,
        order: JobOrder,
        command: Sequence[str],
        *,
        descriptors: Sequence[int] = (),
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self._on_restart = on_restart
        self._order = order
        self._command = command
        self._inherited = (*descriptors, *order.descriptors)
        self._process: asyncio.subprocess.Process | None = None
        self._connection: Connection | None = None  # to the process that was started last
        self._end = ""  # how the last process has ended
        self._last_report = float("-inf")
        self._stuck_since: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the first process, and wait until its job has started.

        Raises `JobStartError`, unless a signal has ended the process: then another one is started.
        """
        delay = None
        while True:
            started = time.monotonic()
            connection = await self._spawn()
            if await connection.wait_started():
                break
            assert self._process is not None
            status = await self._process.wait()
            if status >= 0:
                raise JobStartError(status)
            delay = await self._pause(delay, time.monotonic() - started, status)
        self._last_report = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._supervise()),
            asyncio.create_task(self._watch()),
        ]

    @property
    def makes_progress(self) -> bool:
        """Tell whether the process has lately reported that it is not stuck."""
        is_fresh = time.monotonic() - self._last_report < _FRESH_SECONDS
        return self._is_started and is_fresh and self._stuck_since is None

    async def find_problem(self) -> str | None:
        """Ask the process what is wrong; return None where nothing is."""
        connection = self._connection
        if connection is None or not connection.is_started:
            return f"the {self.job} process has ended ({self._end}) and is being restarted"
        report = await self._ask_report(connection, _FRESH_SECONDS)
        if report is None:
            return f"the {self.job} process does not respond"
        return report.problem

    async def read_metrics(self) -> str | None:
        """Return the metrics of the process, or None where it does not respond."""
        response = await self._request(Request.METRICS, _FRESH_SECONDS)
        return None if response is None else str(response["text"])

    async def reload(self) -> str | None:
        """Make the process read the configuration again; return why that failed, or None.

        A process that starts later reads it anyway.
        """
        response = await self._request(Request.RELOAD, _RELOAD_SECONDS)
        error: str | None = None if response is None else response["error"]
        return error

    async def stop(self, seconds: float) -> None:
        """Let the process finish what it has begun, and kill it where that takes longer.

        Our descriptors of its sockets are closed first, so that no new connection waits for it.
        """
        for endpoint in self._order.endpoints:
            endpoint.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log_event("job-killed", logging.ERROR, job=self.job, reason="it did not stop in time")
            self._send_signal(signal.SIGKILL)
            await process.wait()

    @property
    def _is_started(self) -> bool:
        return self._connection is not None and self._connection.is_started

    # --- the process ---

    async def _spawn(self) -> Connection:
        """Start a process, and return the connection to it. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--job",
                f"{self.job}:{theirs.fileno()}",
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._inherited),
                process_group=0,  # a terminal's ^C is for the parent
            )
            connection = self._connection = await open_connection(ours.dup())
        connection.send_order(self._order)
        return connection

    async def _supervise(self) -> None:
        """Wait for the end of each process, and start the next."""
        delay = None
        while True:
            assert self._process is not None
            started = time.monotonic()
            status = await self._process.wait()
            delay = await self._pause(delay, time.monotonic() - started, status)
            self._stuck_since = None
            try:
                await self._spawn()
            except OSError as error:  # no process or no descriptor: try again
                log_event("job-start-failed", logging.ERROR, job=self.job, reason=str(error))

    async def _pause(self, before: float | None, lived: float, status: int) -> float:
        """Report the end of a process, and wait for as long as is returned."""
        self._end = describe_status(status)
        delay = compute_delay(before, lived, longest=limits.LAST_DELAY)
        log_event("job-ended", logging.ERROR, job=self.job, reason=self._end, restart_seconds=delay)
        await asyncio.sleep(delay)
        self._on_restart()
        return delay

    async def _watch(self) -> None:
        """Ask for a report each second, and kill the process where it needs that."""
        while True:
            await asyncio.sleep(_TICK)
            connection = self._connection
            if connection is None or not connection.is_started:
                continue
            report = await self._ask_report(connection, limits.PATIENCE)
            if connection is not self._connection or not connection.is_open:
                continue  # that process has ended meanwhile
            if report is None:
                self._kill("it does not respond")
            elif time.monotonic() - (self._stuck_since or float("inf")) >= limits.PATIENCE:
                self._kill(report.stuck or "")

    def _kill(self, reason: str) -> None:
        log_event("job-killed", logging.ERROR, job=self.job, reason=reason)
        self._send_signal(signal.SIGKILL)

    def _send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    # --- requests ---

    async def _ask_report(self, connection: Connection, seconds: float) -> _Report | None:
        response = await connection.request(Request.REPORT, seconds)
        if response is None or connection is not self._connection:
            return None
        report = _Report(**response)
        now = self._last_report = time.monotonic()
        self._stuck_since = None if report.stuck is None else self._stuck_since or now
        return report

    async def _request(self, request: Request, seconds: float) -> Response | None:
        """Send a request and return the response; None where there is none in time."""
        connection = self._connection
        if connection is None or not connection.is_started:
            return None
        return await connection.request(request, seconds)


def describe_status(status: int) -> str:
    """Return how a process has ended, for people."""
    return f"signal {-status}" if status < 0 else f"status {status}"
