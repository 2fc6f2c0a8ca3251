"""Resolve the keys of a mail's signatures before the workers derive the mail.

Input: deliveries, as `WorkerPool` takes them. Output: the results of the workers. This class wraps
a `WorkerPool` and has its interface, so that the deriver need not know of DNS.

The 250 never depends on DNS, and only mail that needs DNS waits for it. One thread reads which keys
a mail names, and passes the mail on at once where it names none or all are known. A few other
threads query one name at a time, each name once for all mails that wait for it, in an order that
keeps threads free for others (`daemon.dns.queue`). A mail waits 20 s at most. When more mails wait
than the limits allow, the oldest are derived with the answers that they have. A missing answer is
a `TemporaryFailure`, as if the server had been silent.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from ingest.clock import utcnow
from ingest.config.settings import Config, TrustConfig
from ingest.daemon.dns.queue import PRIORITY_NAMES, DnsQueue
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.workers.pool import WorkerCounts, WorkerPool, WorkerResult, WorkersStoppedError
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.internal_errors import INTERNAL_ERRORS
from ingest.trust.dns import SECONDS_PER_NAME, TOTAL_SECONDS, KeyCache, Resolver, Servers
from ingest.trust.signatures import dkim_arc, dns_answer
from ingest.trust.signatures.signed_message import MAX_SIGNED_HEADER

# Mail may be derived long after its arrival, as from the quarantine. A signer keeps a key for some
# days after the last mail; that it is gone later does not count against the sender.
KEY_LIFETIME = timedelta(days=7)

_CHECK_SECONDS = 1.0  # between checks for mail that has waited too long

# Most mail of some lists has no signature, and need not be parsed for that.
_SIGNED = re.compile(rb"^(?:DKIM-Signature|ARC-Seal)[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DnsLimits:
    """How much is queried and waits. Times are in seconds."""

    threads: int = 8
    seconds_per_mail: float = TOTAL_SECONDS  # for all names of one mail
    seconds_per_name: float = SECONDS_PER_NAME
    max_mails: int = 1_000  # that wait for DNS
    max_bytes: int = 16 << 20  # of these


@dataclass(slots=True, eq=False)
class _Task:
    """A mail that is not with the workers yet. `missing`: the names without an answer."""

    delivery: Delivery
    config: Config
    first: bool
    future: Future[WorkerResult] = field(default_factory=Future)
    answers: dict[str, dns_answer.Answer] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    deadline: float = 0.0


def make_dns_stage(workers: WorkerPool, trust: TrustConfig) -> DnsStage | WorkerPool:
    """Return the workers, behind a DNS stage where DNS is configured and available."""
    if not trust.dns:
        return workers
    try:
        return DnsStage(workers, Servers(trust.nameservers))
    except OSError as error:
        log_event("dns-unavailable", logging.WARNING, reason=str(error))
        return workers


class DnsStage:
    """A `WorkerPool` whose mail gets its keys first.

    Raises `OSError` or `ValueError` at once where the name servers cannot be used at all.
    """

    def __init__(
        self,
        workers: WorkerPool,
        servers: Servers,
        *,
        limits: DnsLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._workers = workers
        self._now = now
        self._limits = limits = limits or DnsLimits()
        self._clock = clock
        self._known = KeyCache(clock=clock)
        self._resolvers = [
            Resolver(servers, per_name=limits.seconds_per_name, cache=self._known)
            for _ in range(limits.threads)
        ]
        self._lock = threading.Condition()  # guards all that follows
        self._is_stopping = False
        self._new: deque[_Task] = deque()
        self._waiting: OrderedDict[_Task, None] = OrderedDict()  # for DNS, oldest first
        self._waiting_bytes = 0
        self._answer_counts: Counter[str] = Counter()
        self._tasks_by_name: dict[str, list[_Task]] = {}
        self._queries = DnsQueue()
        self._threads: list[threading.Thread] = []

    # --- the interface of `WorkerPool` ---

    def start(self) -> None:
        """Start the workers and the threads that read and query."""
        self._workers.start()
        self._start_thread(self._read, "keys")
        for number, resolver in enumerate(self._resolvers):
            self._start_thread(partial(self._query, resolver), f"dns-{number}")

    def _start_thread(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stop, as `WorkerPool.stop` does; mail that waits for DNS is not derived either.

        The threads that query are not waited for: a name server may be silent for seconds.
        """
        with self._lock:
            self._is_stopping = True
            tasks = [*self._new, *self._waiting]
            self._new.clear()
            self._forget_all()
            self._lock.notify_all()
        self._workers.stop()
        for task in tasks:
            _fail(task.future, WorkersStoppedError())

    def submit(
        self, delivery: Delivery, config: Config, *, first: bool = False
    ) -> Future[WorkerResult]:
        """Queue a mail, as `WorkerPool.submit` does.

        Queries DNS for mail that was delivered to us and for which DNS was not queried yet.
        """
        task = _Task(delivery, config, first)
        if delivery.keys is not None or delivery.arrived is None:
            self._pass_on(task)
            return task.future
        with self._lock:
            is_stopping = self._is_stopping
            if not is_stopping:
                self._new.append(task)
                self._lock.notify_all()
        if is_stopping:
            _fail(task.future, WorkersStoppedError())
        return task.future

    def derive(self, delivery: Delivery, config: Config) -> Derived | Failure:
        """Derive a mail, as `WorkerPool.derive` does.

        Uses the keys that the delivery has, because a transaction waits for the result.
        """
        return self._workers.derive(delivery, config)

    @property
    def is_complete(self) -> bool:
        """Tell whether every worker is running or about to."""
        return self._workers.is_complete

    @property
    def error(self) -> str | None:
        """Return why no worker at all can start; None where one can."""
        return self._workers.error

    @property
    def is_alive(self) -> bool:
        """Tell whether all threads that mail depends on are running."""
        return self._workers.is_alive and self._threads[0].is_alive()

    @property
    def waiting_for_dns(self) -> int:
        """Return the number of mails that wait for DNS: they occupy no worker."""
        with self._lock:
            return len(self._waiting)

    @property
    def answer_counts(self) -> Mapping[str, int]:
        """Return how often DNS has given each kind of answer (`dns_answer.kind`)."""
        with self._lock:
            return dict(self._answer_counts)

    @property
    def pids(self) -> list[int]:
        """Return the ids of the workers' processes."""
        return self._workers.pids

    def counts(self) -> WorkerCounts:
        """Return the counts of the workers' processes."""
        return self._workers.counts()

    # --- the thread that reads ---

    def _read(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(
                    lambda: bool(self._new) or self._is_stopping, self._seconds_to_deadline()
                )
                if self._is_stopping:
                    return
                task = self._new.popleft() if self._new else None
                overdue = self._take_overdue()
            for overdue_task in overdue:
                missing = dict.fromkeys(overdue_task.missing, dns_answer.TemporaryFailure())
                overdue_task.answers |= missing
                self._pass_on(overdue_task)
            if task is not None:
                self._look_up(task)

    def _seconds_to_deadline(self) -> float:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return _CHECK_SECONDS
        return max(min(oldest.deadline - self._clock(), _CHECK_SECONDS), 0.01)

    def _take_overdue(self) -> list[_Task]:
        """Return the tasks that must not wait longer, because of their deadline or the limits.

        All tasks wait for the same time, so the oldest is always the first to end.
        """
        now = self._clock()
        overdue = []
        while self._waiting:
            oldest = next(iter(self._waiting))
            exceeds = self._waiting_bytes > self._limits.max_bytes and len(self._waiting) > 1
            exceeds |= len(self._waiting) > self._limits.max_mails
            if oldest.deadline > now and not exceeds:
                break
            self._forget(oldest)
            overdue.append(oldest)
        return overdue

    def _look_up(self, task: _Task) -> None:
        raw = task.delivery.raw
        names: Sequence[str] = ()
        if _SIGNED.search(raw, 0, MAX_SIGNED_HEADER) is not None:
            # The worker reports an internal error: this thread must go on for all mail.
            with suppress(*INTERNAL_ERRORS):
                names = dkim_arc.key_names(raw)
        with self._lock:
            for name in names:
                answer = self._known.get(name)
                if answer is not None:
                    task.answers[name] = answer
                else:
                    task.missing.add(name)
            if task.missing and not self._is_stopping:
                self._wait_for_dns(task, names)
                return
        self._pass_on(task)

    def _wait_for_dns(self, task: _Task, names: Sequence[str]) -> None:
        task.deadline = self._clock() + self._limits.seconds_per_mail
        self._waiting[task] = None
        self._waiting_bytes += len(task.delivery.raw)
        for number, name in enumerate(names):
            if name in task.missing:
                self._tasks_by_name.setdefault(name, []).append(task)
                self._queries.add(name, first=number < PRIORITY_NAMES)
        self._lock.notify_all()

    def _forget(self, task: _Task) -> None:
        """Remove a task that does not wait any more, for whatever reason.

        A name that is not being queried and that no other task waits for is not queried at all.
        """
        del self._waiting[task]
        self._waiting_bytes -= len(task.delivery.raw)
        for name in task.missing:
            tasks = self._tasks_by_name[name]
            tasks.remove(task)
            if not tasks:
                del self._tasks_by_name[name]
                self._queries.remove(name)

    def _forget_all(self) -> None:
        self._waiting.clear()
        self._tasks_by_name.clear()
        self._queries.clear()
        self._waiting_bytes = 0

    # --- the threads that query ---

    def _query(self, resolver: Resolver) -> None:
        while (name := self._next_name()) is not None:
            try:
                answer = resolver.resolve([name])[name]
            except INTERNAL_ERRORS:  # of the code that parses what a server sends
                answer = dns_answer.TemporaryFailure()
            complete = []
            with self._lock:
                self._queries.finish(name)  # this thread takes the next name
                self._answer_counts[dns_answer.answer_kind(answer)] += 1
                for task in self._tasks_by_name.pop(name, ()):
                    task.answers[name] = answer
                    task.missing.discard(name)
                    if not task.missing:
                        self._forget(task)
                        complete.append(task)
            for task in complete:
                self._pass_on(task)

    def _next_name(self) -> str | None:
        """Return the next name that a task waits for; None at the end."""
        with self._lock:
            while not self._is_stopping:
                name = self._queries.take()
                if name is not None:
                    return name
                self._lock.wait()
        return None

    # --- to the workers ---

    def _pass_on(self, task: _Task) -> None:
        delivery = task.delivery
        if delivery.keys is None and delivery.arrived is not None:
            answers = task.answers
            if self._now() - delivery.arrived > KEY_LIFETIME:
                answers = {name: _excuse_missing(answer) for name, answer in answers.items()}
            delivery = replace(delivery, keys=dns_answer.sort_answers(answers))
        worker_future = self._workers.submit(delivery, task.config, first=task.first)
        worker_future.add_done_callback(lambda done: _copy_result(done, task.future))


def _excuse_missing(answer: dns_answer.Answer) -> dns_answer.Answer:
    return dns_answer.NotQueried() if isinstance(answer, dns_answer.NoSuchKey) else answer


def _copy_result(source: Future[WorkerResult], target: Future[WorkerResult]) -> None:
    try:
        result = source.result()
    except (WorkersStoppedError, CancelledError) as error:
        _fail(target, error)
        return
    with suppress(InvalidStateError):  # the caller has cancelled it already
        target.set_result(result)


def _fail(future: Future[WorkerResult], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
