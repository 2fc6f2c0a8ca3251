"""Derive mail in a pool of worker processes, and record how each process ends.

Each of a few threads owns one worker process, gives it one mail at a time, and replaces it when it
is dead, silent for too long, out of memory, or old. The mail that waits is not blocked: another
worker takes it. Every end of a process is counted under its name.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from ingest.config.settings import Config
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.workers.pipe import MEMORY_STATUS
from ingest.daemon.workers.process import (
    DYING_SECONDS,
    PROGRAM,
    WorkerEndedError,
    WorkerLimits,
    WorkerProcess,
)
from ingest.model import Delivery, Derived, Failure
from ingest.store.inbox.queue import TRIES

TIMED_OUT = "parse-failed: timeout"
OUT_OF_MEMORY = "parse-failed: memory"

# Seconds between two checks of an idle worker.
_CHECK_SECONDS = 1.0
# Seconds between attempts to start one.
_PAUSES = (0.1, 0.5, 2.0, 5.0)
# Seconds between two log lines about workers that cannot be started.
_LOG_INTERVAL = 60.0


class WorkerEnd(StrEnum):
    """How a worker process ended. Counted and shown: add, do not rename."""

    RECYCLED = "recycled"  # it had derived as many mails as one may
    STOPPED = "stopped"  # the daemon stopped
    TIMEOUT = "timeout"  # killed: it took too long for a mail
    MEMORY = "memory"  # it ran out of memory with a mail
    SIGNAL = "signal"  # a signal ended it while it had a mail
    STATUS = "status"  # it exited while it had a mail
    IDLE = "idle"  # it ended, or was ended, without a mail: no mail is to blame
    UNREADY = "unready"  # it ended, or was silent, before it was ready


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker was lost while it derived this mail, which may or may not be the cause."""

    sha256: bytes
    reason: str


WorkerResult = Derived | Failure | WorkerLost


class WorkersStoppedError(Exception):
    """The mail was not derived, because the workers have been stopped."""


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Counts of processes. `started` is the sum of the `ended` ones and of `running`."""

    started: int
    running: int
    ended: dict[WorkerEnd, int]
    not_started: int  # attempts that created no process at all


@dataclass(slots=True)
class _Task:
    delivery: Delivery
    config: Config
    future: Future[WorkerResult] = field(default_factory=Future)


class WorkerPool:
    """A pool of worker processes. `submit` and `derive` may be called from any thread."""

    def __init__(
        self,
        size: int | None = None,
        *,
        limits: WorkerLimits | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """Make a pool that `start` starts.

        `size`: the number of workers; by default one for each core, at most two. `program`: the
        arguments of Python, for a program in place of the worker.
        """
        self.size = size or min(os.cpu_count() or 1, 2)
        self.limits = limits or WorkerLimits()
        self._program = program
        self._tasks: deque[_Task] = deque()
        self._lock = threading.Condition()  # guards all that follows
        self._is_stopping = False
        self._threads: list[threading.Thread] = []
        self._processes: set[WorkerProcess] = set()
        self._start_errors: dict[int, str] = {}  # by the number of the worker
        self._logged = -_LOG_INTERVAL
        self._started = 0
        self._not_started = 0
        self._ended: Counter[WorkerEnd] = Counter()

    def start(self) -> None:
        """Start the threads, which start the processes."""
        for number in range(self.size):
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End all processes and threads.

        The futures of mail that is waiting or in progress raise `WorkersStoppedError`.
        """
        with self._lock:
            self._is_stopping = True
            processes = list(self._processes)
            self._lock.notify_all()
        for process in processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        with self._lock:
            tasks = [*self._tasks]
            self._tasks.clear()
        for task in tasks:
            _fail(task)

    def submit(
        self, delivery: Delivery, config: Config, *, first: bool = False
    ) -> Future[WorkerResult]:
        """Queue a mail to be derived; with `first`, before all that wait.

        The future returns a `WorkerResult` or raises `WorkersStoppedError`.
        """
        task = _Task(delivery, config)
        with self._lock:
            is_stopping = self._is_stopping
            if not is_stopping:
                (self._tasks.appendleft if first else self._tasks.append)(task)
                self._lock.notify()
        if is_stopping:
            _fail(task)
        return task.future

    def derive(self, delivery: Delivery, config: Config) -> Derived | Failure:
        """Derive a mail before all others and wait for the result.

        A mail over which workers are lost `TRIES` times has failed. Raises `WorkersStoppedError`.
        """
        for _ in range(TRIES):
            result = self.submit(delivery, config, first=True).result()
            if not isinstance(result, WorkerLost):
                return result
        return Failure(result.sha256, result.reason)

    @property
    def is_complete(self) -> bool:
        """Tell whether every worker is running or about to."""
        with self._lock:
            return not self._start_errors and self.is_alive

    @property
    def error(self) -> str | None:
        """Return why no worker at all can start, on one line; None where one can."""
        with self._lock:
            if self._processes or len(self._start_errors) < self.size:
                return None
            return f"no worker can start: {next(iter(self._start_errors.values()))}"

    @property
    def is_alive(self) -> bool:
        """Tell whether all threads are running.

        A thread ends when it is stopped, or by an internal error. A caller that waits for a
        result might then wait for ever.
        """
        return all(thread.is_alive() for thread in self._threads)

    @property
    def waiting_for_dns(self) -> int:
        """Return the number of mails that wait for DNS and not for a worker (`DnsStage`)."""
        return 0

    @property
    def pids(self) -> list[int]:
        """Return the ids of the running processes, for monitoring."""
        with self._lock:
            return [process.pid for process in self._processes]

    def counts(self) -> WorkerCounts:
        """Return the counts of processes."""
        with self._lock:
            ended = {end: self._ended[end] for end in WorkerEnd}
            return WorkerCounts(self._started, len(self._processes), ended, self._not_started)

    # --- the thread of each worker ---

    def _serve(self, number: int) -> None:
        while (process := self._start_process(number)) is not None:
            self._run(process)

    def _run(self, process: WorkerProcess) -> None:
        """Give mails to the process until it has ended or has to be replaced."""
        for _ in range(self.limits.mails):
            task = self._next_task(process)
            if isinstance(task, WorkerEnd):
                self._close(process, task)
                return
            if task.future.set_running_or_notify_cancel() and not self._derive(process, task):
                return
        self._close(process, WorkerEnd.RECYCLED)

    def _next_task(self, process: WorkerProcess) -> _Task | WorkerEnd:
        with self._lock:
            while process.is_running:
                if self._is_stopping:
                    return WorkerEnd.STOPPED
                if self._tasks:
                    return self._tasks.popleft()
                self._lock.wait(_CHECK_SECONDS)
            return WorkerEnd.STOPPED if self._is_stopping else WorkerEnd.IDLE

    def _derive(self, process: WorkerProcess, task: _Task) -> bool:
        """Let the process derive a mail. Returns False where the process has ended over it."""
        request = pickle.dumps((task.delivery, task.config), pickle.HIGHEST_PROTOCOL)
        try:
            response = process.request(request, seconds=self.limits.seconds)
            result = pickle.loads(response)  # noqa: S301 - our own pipe
        except TimeoutError:
            process.kill()
            end, reason = WorkerEnd.TIMEOUT, TIMED_OUT
        except WorkerEndedError:
            end, reason = _interpret_status(process.close(seconds=DYING_SECONDS))
        else:
            assert isinstance(result, Derived | Failure)
            task.future.set_result(result)
            return True
        with self._lock:
            is_stopping = self._is_stopping
        # Counted before the future is set, so that whoever waits for it finds the end counted.
        self._close(process, WorkerEnd.STOPPED if is_stopping else end)
        if is_stopping:
            _fail(task)
        else:
            task.future.set_result(WorkerLost(task.delivery.sha256, reason))
        return False

    def _start_process(self, number: int) -> WorkerProcess | None:
        """Return a process that is ready, or None once the workers are stopped."""
        attempt = 0
        while True:
            with self._lock:
                if attempt:
                    pause = _PAUSES[min(attempt, len(_PAUSES)) - 1]
                    self._lock.wait_for(lambda: self._is_stopping, pause)
                if self._is_stopping:
                    return None
            attempt += 1
            try:
                process = WorkerProcess(self.limits, self._program)
            except (TimeoutError, WorkerEndedError) as error:
                with self._lock:
                    self._started += 1
                    self._ended[WorkerEnd.UNREADY] += 1
                self._note_start_error(number, str(error))
            except OSError as error:
                with self._lock:
                    self._not_started += 1
                self._note_start_error(number, str(error))
            else:
                with self._lock:
                    self._started += 1
                    self._start_errors.pop(number, None)
                    self._processes.add(process)
                return process

    def _note_start_error(self, number: int, reason: str) -> None:
        """Note why a worker could not be started; logged at most once a minute for all."""
        now = time.monotonic()
        with self._lock:
            self._start_errors[number] = reason
            if self._is_stopping or now < self._logged + _LOG_INTERVAL:
                return
            self._logged = now
            running = len(self._processes)
        log_event("worker-start-failed", logging.ERROR, reason=reason, running=running)

    def _close(self, process: WorkerProcess, end: WorkerEnd) -> None:
        process.close()
        with self._lock:
            self._processes.discard(process)
            self._ended[end] += 1


def find_start_error(limits: WorkerLimits, program: Sequence[str] = PROGRAM) -> str | None:
    """Start and end a worker; return why that is not possible, on one line, or None."""
    try:
        WorkerProcess(limits, program).close()
    except (OSError, WorkerEndedError) as error:  # TimeoutError is an OSError
        return f"no worker can start: {error}"
    return None


def _interpret_status(status: int) -> tuple[WorkerEnd, str]:
    """Return how a process ended, from its status, and the reason for the mail that it had."""
    if status == MEMORY_STATUS:
        return WorkerEnd.MEMORY, OUT_OF_MEMORY
    if status < 0:
        return WorkerEnd.SIGNAL, f"parse-failed: worker died (signal {-status})"
    return WorkerEnd.STATUS, f"parse-failed: worker died (status {status})"


def _fail(task: _Task) -> None:
    with suppress(InvalidStateError):  # the caller has cancelled it already
        task.future.set_exception(WorkersStoppedError())
