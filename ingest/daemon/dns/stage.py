"""Keys first, then the workers: what DNS says of a mail's signatures, before it is derived.

Input: deliveries, as `WorkerPool` takes them. Output: the workers' answers. Stands before a
`WorkerPool` and has its interface, so that the deriver need not know of DNS.

Nothing here is on the way to a 250, and nobody waits in line for DNS but who needs it: one thread
reads which keys a mail names, and hands it on at once where it names none or all are known; a few
others ask, one name at a time, each name once for all mails that wait for it, in an order that
keeps threads for others (`daemon.dns.queue`). A mail waits 20 s at most, and when more wait than
there is room for, those that came first are derived without what is still missing. What is missing
then is a `TemporaryFailure`, like any other silence.
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
from ingest.config.file import Config, TrustConfig
from ingest.daemon.dns.queue import FIRST, DnsQueue
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.workers.pool import Counts, WorkerPool, WorkerResult, WorkersStoppedError
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import INTERNAL_ERRORS
from ingest.trust.dns import SECONDS_PER_NAME, TOTAL_SECONDS, KeyCache, Resolver, Servers
from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures import dns_answer as said
from ingest.trust.signatures.signed_message import MAX_SIGNED_HEADER

# Mail may be derived long after it came, as out of the quarantine. A signer keeps a key for some
# days after the last mail; that it is gone later says nothing against the sender.
LATE = timedelta(days=7)

_LOOK = 1.0  # seconds between looks at what has waited too long, at rest

# Most mail of some lists has no signature, and need not be read for that.
_SIGNED = re.compile(rb"^(?:DKIM-Signature|ARC-Seal)[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DnsLimits:
    """How much is asked and waits. Times are in seconds."""

    threads: int = 8
    budget: float = TOTAL_SECONDS  # for all names of one mail
    per_name: float = SECONDS_PER_NAME
    mails: int = 1_000  # that wait for DNS
    octets: int = 16 << 20  # of these


@dataclass(slots=True, eq=False)
class _Case:
    """A mail that is not with the workers yet. `missing`: what DNS has not said."""

    delivery: Delivery
    config: Config
    first: bool
    future: Future[WorkerResult] = field(default_factory=Future)
    answers: dict[str, said.Answer] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    until: float = 0.0


def make_dns_stage(workers: WorkerPool, trust: TrustConfig) -> DnsStage | WorkerPool:
    """The workers, with DNS before them where that is configured and can be had."""
    if not trust.dns:
        return workers
    try:
        return DnsStage(workers, Servers(trust.nameservers))
    except OSError as error:
        log_event("no-dns", logging.WARNING, reason=str(error))
        return workers


class DnsStage:
    """`WorkerPool` that are given the keys. Raises `OSError` or `ValueError` at once where the
    name servers cannot be used at all.
    """

    def __init__(
        self,
        workers: WorkerPool,
        servers: Servers,
        *,
        asking: DnsLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._workers = workers
        self._now = now
        self._asking = asking = asking or DnsLimits()
        self._clock = clock
        self._known = KeyCache(clock=clock)
        self._resolvers = [
            Resolver(servers, per_name=asking.per_name, cache=self._known)
            for _ in range(asking.threads)
        ]
        self._lock = threading.Condition()  # guards all that follows
        self._stopping = False
        self._new: deque[_Case] = deque()
        self._cases: OrderedDict[_Case, None] = OrderedDict()  # that wait for DNS, oldest first
        self._octets = 0  # of these
        self._answered: Counter[str] = Counter()
        self._waiting: dict[str, list[_Case]] = {}  # by name, asked or about to be
        self._questions = DnsQueue()
        self._threads: list[threading.Thread] = []

    # --- as Workers have it ---

    def start(self) -> None:
        self._workers.start()
        self._begin(self._read, "keys")
        for number, resolver in enumerate(self._resolvers):
            self._begin(partial(self._ask, resolver), f"dns-{number}")

    def _begin(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """As of `WorkerPool`; what still waits for DNS comes to `WorkersStoppedError` too.

        The threads that ask are not waited for: a name server may be silent for seconds.
        """
        with self._lock:
            self._stopping = True
            left = [*self._new, *self._cases]
            self._new.clear()
            self._forget_all()
            self._lock.notify_all()
        self._workers.stop()
        for case in left:
            _fail(case.future, WorkersStoppedError())

    def submit(
        self, delivery: Delivery, config: Config, *, first: bool = False
    ) -> Future[WorkerResult]:
        """As of `WorkerPool`. Asks DNS for mail that came by itself and has not been asked for."""
        case = _Case(delivery, config, first)
        if delivery.keys is not None or delivery.arrived is None:
            self._hand_on(case)
            return case.future
        with self._lock:
            stopping = self._stopping
            if not stopping:
                self._new.append(case)
                self._lock.notify_all()
        if stopping:
            _fail(case.future, WorkersStoppedError())
        return case.future

    def derive(self, delivery: Delivery, config: Config) -> Derived | Failure:
        """As of `WorkerPool`, by the keys that the delivery has: a transaction waits for this."""
        return self._workers.derive(delivery, config)

    @property
    def able(self) -> bool:
        return self._workers.able

    @property
    def trouble(self) -> str | None:
        return self._workers.trouble

    @property
    def alive(self) -> bool:
        """As of `WorkerPool`: without the thread that reads nothing is handed on."""
        return self._workers.alive and self._threads[0].is_alive()

    @property
    def asking(self) -> int:
        """How many mails wait for DNS: they take up nobody's time."""
        with self._lock:
            return len(self._cases)

    @property
    def answered(self) -> Mapping[str, int]:
        """How often DNS has said what, by `answer.kind`."""
        with self._lock:
            return dict(self._answered)

    @property
    def pids(self) -> list[int]:
        return self._workers.pids

    def counts(self) -> Counts:
        return self._workers.counts()

    # --- the thread that reads ---

    def _read(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(self._new) or self._stopping, self._rest())
                if self._stopping:
                    return
                case = self._new.popleft() if self._new else None
                late = self._late()
            for one in late:
                self._give_up(one)
            if case is not None:
                self._look_up(case)

    def _rest(self) -> float:
        oldest = next(iter(self._cases), None)
        return _LOOK if oldest is None else max(min(oldest.until - self._clock(), _LOOK), 0.01)

    def _late(self) -> list[_Case]:
        """Those whose time is over, or whose room others need; all came in the order in which
        they are to go.
        """
        now = self._clock()
        found = []
        while self._cases:
            oldest = next(iter(self._cases))
            crowded = self._octets > self._asking.octets and len(self._cases) > 1
            crowded |= len(self._cases) > self._asking.mails
            if oldest.until > now and not crowded:
                break
            self._forget(oldest)
            found.append(oldest)
        return found

    def _give_up(self, case: _Case) -> None:
        case.answers |= dict.fromkeys(case.missing, said.TemporaryFailure())
        self._hand_on(case)

    def _look_up(self, case: _Case) -> None:
        raw = case.delivery.raw
        names: Sequence[str] = ()
        if _SIGNED.search(raw, 0, MAX_SIGNED_HEADER) is not None:
            # A defect of ours is the worker's to report: this thread serves all mail.
            with suppress(*INTERNAL_ERRORS):
                names = dkim_arc.key_names(raw)
        with self._lock:
            for name in names:
                known = self._known.get(name)
                if known is not None:
                    case.answers[name] = known
                else:
                    case.missing.add(name)
            if case.missing and not self._stopping:
                self._wait_for_dns(case, names)
                return
        self._hand_on(case)

    def _wait_for_dns(self, case: _Case, names: Sequence[str]) -> None:
        case.until = self._clock() + self._asking.budget
        self._cases[case] = None
        self._octets += len(case.delivery.raw)
        for number, name in enumerate(names):
            if name in case.missing:
                self._waiting.setdefault(name, []).append(case)
                self._questions.add(name, first=number < FIRST)
        self._lock.notify_all()

    def _forget(self, case: _Case) -> None:
        """It waits no more, whatever for. A name that is not asked yet and that nobody else
        waits for is not asked at all.
        """
        del self._cases[case]
        self._octets -= len(case.delivery.raw)
        for name in case.missing:
            waiting = self._waiting[name]
            waiting.remove(case)
            if not waiting:
                del self._waiting[name]
                self._questions.drop(name)

    def _forget_all(self) -> None:
        self._cases.clear()
        self._waiting.clear()
        self._questions.clear()
        self._octets = 0

    # --- the threads that ask ---

    def _ask(self, resolver: Resolver) -> None:
        while (name := self._next()) is not None:
            try:
                found = resolver.resolve([name])[name]
            except INTERNAL_ERRORS:  # of whoever reads what a server sends
                found = said.TemporaryFailure()
            ready = []
            with self._lock:
                self._questions.done(name)  # this thread is the one to take the next
                self._answered[said.answer_kind(found)] += 1
                for case in self._waiting.pop(name, ()):
                    case.answers[name] = found
                    case.missing.discard(name)
                    if not case.missing:
                        self._forget(case)
                        ready.append(case)
            for case in ready:
                self._hand_on(case)

    def _next(self) -> str | None:
        """The next name that somebody waits for; None at the end."""
        with self._lock:
            while not self._stopping:
                name = self._questions.take()
                if name is not None:
                    return name
                self._lock.wait()
        return None

    # --- to the workers ---

    def _hand_on(self, case: _Case) -> None:
        delivery = case.delivery
        if delivery.keys is None and delivery.arrived is not None:
            answers = case.answers
            if self._now() - delivery.arrived > LATE:
                answers = {name: _now_gone(answer) for name, answer in answers.items()}
            delivery = replace(delivery, keys=said.sort_answers(answers))
        inner = self._workers.submit(delivery, case.config, first=case.first)
        inner.add_done_callback(lambda done: _pass_on(done, case.future))


def _now_gone(answer: said.Answer) -> said.Answer:
    return said.NotQueried() if isinstance(answer, said.NoSuchKey) else answer


def _pass_on(done: Future[WorkerResult], to: Future[WorkerResult]) -> None:
    try:
        answer = done.result()
    except (WorkersStoppedError, CancelledError) as error:
        _fail(to, error)
        return
    with suppress(InvalidStateError):  # whoever asked has given it up already
        to.set_result(answer)


def _fail(future: Future[WorkerResult], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
