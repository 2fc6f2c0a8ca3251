"""Accept mail: commit the deliveries that wait at the same time in one transaction.

Input: envelopes with their bodies, from any number of sessions. Output: a decision for each, which
is `Accept` only once the bytes are committed, so that the sender may forget them. A delivery for
which there is no room, or which the database cannot store, gets `TempFail`: the sender keeps it.

One thread commits. While it waits for the disk, the next deliveries queue up, so that one flush
serves all that have arrived meanwhile, and a single delivery does not wait for others.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.daemon.failures import DatabaseFailure, classify_failure
from ingest.daemon.monitoring.log import LOG
from ingest.mail.defect import Defect
from ingest.model import Delivery
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, MailBody, TempFail
from ingest.store.database.engine import require_flushed_commits
from ingest.store.database.errors import error_line
from ingest.store.database.transactions import BUSY_SECONDS, probe_write
from ingest.store.inbox.transactions import accept_deliveries

# Seconds between two checks of a thread that has nothing to do.
_CHECK_SECONDS = 1.0

# Attempts at a transaction that conflicted with another writer.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much may wait, and how much goes into one transaction, in mails and in bytes.

    A single mail larger than `batch_bytes` gets a transaction of its own.
    """

    max_mails: int = 1_000
    max_bytes: int = 256 << 20
    batch_mails: int = 200
    batch_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The result of one delivery, for the log. `seconds`: from the final dot to the decision."""

    envelope: Envelope
    size: int
    sha256: bytes
    decision: Decision
    seconds: float


@dataclass(slots=True, eq=False)
class _Request:
    """A delivery that waits to be committed."""

    envelope: Envelope
    route: tuple[str, ...]
    body: MailBody
    size: int
    started: float
    loop: asyncio.AbstractEventLoop
    decision: asyncio.Future[Decision]


def _ignore(_: AcceptResult) -> None:
    """Ignore a result, where there is no log."""


class Acceptor:
    """Commit deliveries: call `start`, then `accept` from an event loop, then `stop`.

    `on_commit` is called with the number of mails after each commit, and `observe` with the result
    of each delivery, both in the committing thread. Neither may raise or take long.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        capacity: Capacity | None = None,
        clock: Callable[[], datetime] = utcnow,
        on_commit: Callable[[int], None] = lambda _: None,
        observe: Callable[[AcceptResult], None] = _ignore,
        timeout: float = BUSY_SECONDS,
    ) -> None:
        """Make an acceptor for a store.

        `engine`: for PostgreSQL an engine of its own, because all its transactions are flushed
        whatever the server's default is; for SQLite the engine that other writers use, so that
        they take turns. `timeout`: seconds that a sender waits for its decision, and a
        transaction for locks.
        """
        self.error: str | None = None  # why the database stores nothing at present
        self._engine = engine
        self._capacity = capacity or Capacity()
        self._clock = clock
        self._on_commit = on_commit
        self._observe = observe
        self._timeout = timeout
        self._changed = threading.Condition()  # guards what follows
        self._queue: deque[_Request] = deque()
        self._mails = self._bytes = 0  # waiting, those being committed included
        self._is_stopping = False
        self._last_progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)
        # A commit must be on disk before the sender gets 250.
        require_flushed_commits(engine)

    def start(self) -> None:
        """Start the committing thread."""
        self._thread.start()

    async def accept(self, envelope: Envelope, route: tuple[str, ...], body: MailBody) -> Decision:
        """Store a delivery. Once begun, this is finished whether or not the caller waits.

        A decision that takes longer than `timeout` is `TempFail`. If the mail is committed after
        all, it is recognised when its sender tries again.
        """
        loop = asyncio.get_running_loop()
        request = _Request(
            envelope, route, body, body.size, time.monotonic(), loop, loop.create_future()
        )
        refusal = self._enqueue(request)
        if refusal is not None:
            self._observe(_make_result(request, refusal))
            return refusal
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(request.decision)
        except TimeoutError:
            return self._withdraw(request)

    @property
    def waiting(self) -> tuple[int, int]:
        """Return the number of mails, and of their bytes, that wait to be committed."""
        with self._changed:
            return self._mails, self._bytes

    def is_alive(self, since: float) -> bool:
        """Tell whether the thread has made progress, or was idle, after `since`.

        `since` is a time of `time.monotonic`. An unavailable database is no fault of the thread.
        """
        return self._thread.is_alive() and self._last_progress >= since

    def stop(self, timeout: float) -> bool:
        """Refuse new mail and commit what waits; tell whether all was committed in time."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enqueue(self, request: _Request) -> TempFail | None:
        with self._changed:
            if self._is_stopping:
                return TempFail(DeliveryReason.STOPPING)
            capacity = self._capacity
            is_full = (
                self._mails >= capacity.max_mails or self._bytes + request.size > capacity.max_bytes
            )
            # One mail is always admitted, or a large one would never be.
            if is_full and self._mails:
                return TempFail(DeliveryReason.BUSY)
            self._queue.append(request)
            self._mails += 1
            self._bytes += request.size
            self._changed.notify()
            return None

    def _withdraw(self, request: _Request) -> Decision:
        """Decide on a delivery that has waited too long: the database is unavailable."""
        refusal = TempFail(DeliveryReason.DATABASE)
        with self._changed:
            if request not in self._queue:  # it is being committed, and that will be finished
                return request.decision.result() if request.decision.done() else refusal
            self._queue.remove(request)
            self._mails -= 1
            self._bytes -= request.size
        self._observe(_make_result(request, refusal))
        return refusal

    # --- the committing thread ---

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            self._last_progress = time.monotonic()
            if batch:
                self._respond(batch, self._store(batch))
            elif self.error is not None:
                self._probe()

    def _next_batch(self) -> list[_Request] | None:
        """Return what to commit together; empty where nothing arrived, None at the end."""
        with self._changed:
            if not self._queue and not self._is_stopping:
                self._changed.wait(_CHECK_SECONDS)
            if not self._queue:
                return None if self._is_stopping else []
            batch: list[_Request] = []
            size = 0
            while self._queue and len(batch) < self._capacity.batch_mails:
                size += self._queue[0].size
                if batch and size > self._capacity.batch_bytes:
                    break
                batch.append(self._queue.popleft())
            return batch

    def _store(self, batch: Sequence[_Request]) -> list[Decision]:
        """Return a decision for each request, whatever goes wrong."""
        deliveries = [_read_delivery(request) for request in batch]
        readable = [delivery for delivery in deliveries if delivery is not None]
        decisions = iter(self._commit(readable))
        return [
            TempFail(DeliveryReason.INTERNAL) if delivery is None else next(decisions)
            for delivery in deliveries
        ]

    def _commit(self, deliveries: Sequence[Delivery]) -> list[Decision]:
        if not deliveries:
            return []
        try:
            new = self._persist(deliveries)
        except Exception as error:  # noqa: BLE001 - see below
            # The boundary at which an internal error must not lose mail: its sender keeps it.
            if classify_failure(error) is DatabaseFailure.OUTAGE:
                self._note_outage(error)
                return [TempFail(DeliveryReason.DATABASE)] * len(deliveries)
            if len(deliveries) == 1:
                LOG.exception("accept-failed")
                return [TempFail(DeliveryReason.INTERNAL)]
            return self._commit_singly(deliveries)
        self.error = None
        self._on_commit(len(deliveries))
        decisions: list[Decision] = []
        for delivery in deliveries:
            is_new = delivery.sha256 in new
            decisions.append(Accept(DeliveryReason.ACCEPTED if is_new else DeliveryReason.KNOWN))
            new.discard(delivery.sha256)  # the same mail twice in a batch is new once
        return decisions

    def _commit_singly(self, deliveries: Sequence[Delivery]) -> list[Decision]:
        """Commit each delivery alone, because one is at fault and must not affect the others."""
        decisions: list[Decision] = []
        for delivery in deliveries:
            decisions += self._commit([delivery])
            if decisions[-1] == TempFail(DeliveryReason.DATABASE):
                break  # each further attempt might take as long as this one
        remaining = len(deliveries) - len(decisions)
        return decisions + [TempFail(DeliveryReason.DATABASE)] * remaining

    def _persist(self, deliveries: Sequence[Delivery]) -> set[bytes]:
        """Commit deliveries, and return the digests of the new ones."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                queued = accept_deliveries(
                    self._engine, deliveries, clock=self._clock, wait=self._timeout
                )
                return {mail.sha256 for mail in queued if mail.is_new}
            except SQLAlchemyError as error:
                if attempt == _ATTEMPTS or classify_failure(error) is not DatabaseFailure.CONFLICT:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _probe(self) -> None:
        """Check, while nothing arrives, whether the database can store mail again."""
        try:
            probe_write(self._engine, wait=self._timeout)
        except (SQLAlchemyError, OSError) as error:
            self._note_outage(error)
        else:
            self.error = None

    def _note_outage(self, error: Exception) -> None:
        text = error_line(error)
        if text != self.error:
            LOG.warning("commit-failed", extra={"values": {"reason": text}})
        self.error = text

    def _respond(self, batch: Sequence[_Request], decisions: Sequence[Decision]) -> None:
        with self._changed:
            self._mails -= len(batch)
            self._bytes -= sum(request.size for request in batch)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Decision]]] = {}
        for request, decision in zip(batch, decisions, strict=True):
            by_loop.setdefault(request.loop, []).append((request, decision))
        for loop, responses in by_loop.items():
            try:
                loop.call_soon_threadsafe(_set_decisions, responses)
            except RuntimeError:  # the loop has ended, and so has everybody who waited
                continue
        for request, decision in zip(batch, decisions, strict=True):
            self._observe(_make_result(request, decision))


def _set_decisions(responses: Sequence[tuple[_Request, Decision]]) -> None:
    for request, decision in responses:
        if not request.decision.done():
            request.decision.set_result(decision)


def _make_result(request: _Request, decision: Decision) -> AcceptResult:
    seconds = time.monotonic() - request.started
    return AcceptResult(request.envelope, request.size, request.body.sha256, decision, seconds)


def _read_delivery(request: _Request) -> Delivery | None:
    """Return the delivery, or None where its bytes are no longer available.

    The disk may fail to return them, or the body was closed because nobody waits for it.
    """
    try:
        raw = request.body.read()
    except (MemoryError, OSError, ValueError):  # ValueError: a closed file's
        LOG.exception("spool-read-failed")
        return None
    # A row whose bytes do not have its digest would answer the next attempt with "known", and
    # lose the mail: so the digest is checked again.
    if hashlib.sha256(raw).digest() != request.body.sha256:
        LOG.error("spool-corrupted")
        return None
    return Delivery(
        raw=raw,
        sha256=request.body.sha256,
        source=request.envelope.protocol,
        route=request.route,
        container_errors=_container_errors(raw),
        envelope=request.envelope.as_json(),
    )


def _container_errors(raw: bytes) -> tuple[Defect, ...]:
    """Return errors that are errors on the wire only: in an archive, LF alone ends every line.

    Other software may take such an LF for the end of a line, or of the mail, and this mail for
    two mails.
    """
    return (Defect.BARE_LF,) if raw.count(b"\n") > raw.count(b"\r\n") else ()
