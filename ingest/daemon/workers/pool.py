"""The workers: mail goes in, what was derived comes out, and what kills a worker is known.

Each of a few threads owns one child process, gives it one mail at a time, and replaces it when
it is dead, silent for too long, out of memory, or old. The mail behind is not held up: another
worker takes it. Every end of a child is counted under its name.
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

from ingest.config.file import Config
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.workers.main import MEMORY_STATUS
from ingest.daemon.workers.process import PROGRAM, ChildEndedError, WorkerLimits, WorkerProcess
from ingest.model import Delivery, Derived, Failure
from ingest.store.inbox.queue import TRIES

TIMED_OUT = "parse-failed: timeout"
OUT_OF_MEMORY = "parse-failed: memory"

# Seconds: how often a worker at rest is looked at, and how long between attempts to start one.
_LOOK = 1.0
_PAUSES = (0.1, 0.5, 2.0, 5.0)
# Seconds between two lines of the log that say that none can be started.
_LOG_AGAIN = 60.0


class WorkerEnd(StrEnum):
    """How a child ended. Counted and shown: add, do not rename."""

    RECYCLED = "recycled"  # it had served as many mails as one may
    STOPPED = "stopped"  # the daemon ended
    TIMEOUT = "timeout"  # killed: it took too long for a mail
    MEMORY = "memory"  # it ran out of memory with a mail
    SIGNAL = "signal"  # a signal ended it while it had a mail
    STATUS = "status"  # it ended by itself while it had a mail
    IDLE = "idle"  # it ended, or was ended, at rest: no mail is to blame
    UNREADY = "unready"  # it ended, or was silent, before it was ready


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker was lost with this mail in hand. It may be the mail's doing, or not."""

    sha256: bytes
    reason: str


WorkerResult = Derived | Failure | WorkerLost


class WorkersStoppedError(Exception):
    """Nothing became of the mail, since the workers have been stopped."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`started` is the sum of those that `ended` and of `running`."""

    started: int
    running: int
    ended: dict[WorkerEnd, int]
    not_started: int  # attempts at which there was no process at all


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
        """`size`: how many; else one for each core, two at most. `program`: what Python is to
        run instead of the worker.
        """
        self.size = size or min(os.cpu_count() or 1, 2)
        self.limits = limits or WorkerLimits()
        self._program = program
        self._tasks: deque[_Task] = deque()
        self._lock = threading.Condition()  # guards all that follows
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._children: set[WorkerProcess] = set()
        self._unable: dict[int, str] = {}  # the workers that could not be started, and why
        self._logged = -_LOG_AGAIN
        self._started = 0
        self._not_started = 0
        self._ended: Counter[WorkerEnd] = Counter()

    def start(self) -> None:
        """Start the threads, and they the processes."""
        for number in range(self.size):
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End all processes and threads. What is in hand or waits comes to
        `WorkersStoppedError`.
        """
        with self._lock:
            self._stopping = True
            children = list(self._children)
            self._lock.notify_all()
        for child in children:
            child.kill()
        for thread in self._threads:
            thread.join()
        with self._lock:
            left = [*self._tasks]
            self._tasks.clear()
        for task in left:
            _fail(task)

    def submit(
        self, delivery: Delivery, config: Config, *, first: bool = False
    ) -> Future[WorkerResult]:
        """Have a mail derived. `first`: before all that wait. The future comes to an `WorkerResult`,
        or to `WorkersStoppedError`.
        """
        task = _Task(delivery, config)
        with self._lock:
            stopping = self._stopping
            if not stopping:
                (self._tasks.appendleft if first else self._tasks.append)(task)
                self._lock.notify()
        if stopping:
            _fail(task)
        return task.future

    def derive(self, delivery: Delivery, config: Config) -> Derived | Failure:
        """Derive a mail before all others and wait for it; one that workers are lost over
        `TRIES` times has failed. Raises `WorkersStoppedError`.
        """
        for _ in range(TRIES):
            answer = self.submit(delivery, config, first=True).result()
            if not isinstance(answer, WorkerLost):
                return answer
        return Failure(answer.sha256, answer.reason)

    @property
    def able(self) -> bool:
        """Whether every worker is there, or about to be."""
        with self._lock:
            return not self._unable and self.alive

    @property
    def trouble(self) -> str | None:
        """Why no worker at all can start, on one line; None where one can."""
        with self._lock:
            if self._children or len(self._unable) < self.size:
                return None
            return f"no worker can start: {next(iter(self._unable.values()))}"

    @property
    def alive(self) -> bool:
        """Whether none of the threads has ended, which they do when they are stopped, or by a
        defect of ours: then who waits for an answer might wait for ever.
        """
        return all(thread.is_alive() for thread in self._threads)

    @property
    def asking(self) -> int:
        """How many mails wait for something that is not a worker (see `daemon.dns.stage`)."""
        return 0

    @property
    def pids(self) -> list[int]:
        """Of the processes that run, for those who watch them."""
        with self._lock:
            return [child.pid for child in self._children]

    def counts(self) -> Counts:
        with self._lock:
            ended = {end: self._ended[end] for end in WorkerEnd}
            return Counts(self._started, len(self._children), ended, self._not_started)

    # --- a thread of each worker ---

    def _serve(self, number: int) -> None:
        while (child := self._start_one(number)) is not None:
            self._use(child)

    def _use(self, child: WorkerProcess) -> None:
        """Give the child mails until it has ended or shall."""
        for _ in range(self.limits.mails):
            task = self._next(child)
            if isinstance(task, WorkerEnd):
                self._finish(child, task)
                return
            if task.future.set_running_or_notify_cancel() and not self._ask(child, task):
                return
        self._finish(child, WorkerEnd.RECYCLED)

    def _next(self, child: WorkerProcess) -> _Task | WorkerEnd:
        with self._lock:
            while child.running:
                if self._stopping:
                    return WorkerEnd.STOPPED
                if self._tasks:
                    return self._tasks.popleft()
                self._lock.wait(_LOOK)
            return WorkerEnd.STOPPED if self._stopping else WorkerEnd.IDLE

    def _ask(self, child: WorkerProcess, task: _Task) -> bool:
        """Have the child derive a mail. False where it has ended over it."""
        request = pickle.dumps((task.delivery, task.config), pickle.HIGHEST_PROTOCOL)
        try:
            answer = pickle.loads(child.ask(request, seconds=self.limits.seconds))  # noqa: S301 - our own pipe
        except TimeoutError:
            child.kill()
            end, reason = WorkerEnd.TIMEOUT, TIMED_OUT
        except ChildEndedError:
            end, reason = _death(child.end())
        else:
            assert isinstance(answer, Derived | Failure)
            task.future.set_result(answer)
            return True
        with self._lock:
            stopping = self._stopping
        # Counted before anybody hears of it, so that who hears finds it counted.
        self._finish(child, WorkerEnd.STOPPED if stopping else end)
        if stopping:
            _fail(task)
        else:
            task.future.set_result(WorkerLost(task.delivery.sha256, reason))
        return False

    def _start_one(self, number: int) -> WorkerProcess | None:
        """A child that is ready; None once the workers are to stop."""
        attempt = 0
        while True:
            with self._lock:
                if attempt:
                    self._lock.wait_for(
                        lambda: self._stopping, _PAUSES[min(attempt, len(_PAUSES)) - 1]
                    )
                if self._stopping:
                    return None
            attempt += 1
            try:
                child = WorkerProcess(self.limits, self._program)
            except (TimeoutError, ChildEndedError) as error:
                with self._lock:
                    self._started += 1
                    self._ended[WorkerEnd.UNREADY] += 1
                self._note_unable(number, str(error))
            except OSError as error:
                with self._lock:
                    self._not_started += 1
                self._note_unable(number, str(error))
            else:
                with self._lock:
                    self._started += 1
                    self._unable.pop(number, None)
                    self._children.add(child)
                return child

    def _note_unable(self, number: int, why: str) -> None:
        """One could not be started. Logged at most once a minute, for all of them."""
        now = time.monotonic()
        with self._lock:
            self._unable[number] = why
            if self._stopping or now < self._logged + _LOG_AGAIN:
                return
            self._logged = now
            running = len(self._children)
        log_event("worker-not-started", logging.ERROR, reason=why, running=running)

    def _finish(self, child: WorkerProcess, end: WorkerEnd) -> None:
        child.end()
        with self._lock:
            self._children.discard(child)
            self._ended[end] += 1


def start_fault(limits: WorkerLimits, program: Sequence[str] = PROGRAM) -> str | None:
    """Why no worker can be started here, on one line; None where one can, which is then ended."""
    try:
        WorkerProcess(limits, program).end()
    except (OSError, ChildEndedError) as error:  # TimeoutError is an OSError
        return f"no worker can start: {error}"
    return None


def _death(status: int) -> tuple[WorkerEnd, str]:
    """What a child's status says of how it ended with a mail in hand."""
    if status == MEMORY_STATUS:
        return WorkerEnd.MEMORY, OUT_OF_MEMORY
    if status < 0:
        return WorkerEnd.SIGNAL, f"parse-failed: worker died (signal {-status})"
    return WorkerEnd.STATUS, f"parse-failed: worker died (status {status})"


def _fail(task: _Task) -> None:
    with suppress(InvalidStateError):  # whoever asked has given it up already
        task.future.set_exception(WorkersStoppedError())
