"""Accepting: deliveries that wait at the same time go into the store in one transaction.

Input: envelopes with their bodies, from any number of sessions. Output: a verdict for each, and
`Accept` only once its bytes are committed, so that the sender may forget them. Refuses, with
`TempFail`, what there is no room for and what the database does not take: the sender keeps it.

One thread commits. While it waits for the disk, the next deliveries gather, so that a flush
serves as many as have come meanwhile, and a single one does not wait for others.
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

from sqlalchemy import Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.daemon.monitoring.log import LOG
from ingest.daemon.recorder import DatabaseFailure, classify_failure
from ingest.mail.defect import Defect
from ingest.model import Delivery
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, MailBody, TempFail
from ingest.store.engine import BUSY_SECONDS, error_line, write_transaction
from ingest.store.inbox.queue import enqueue

# Seconds between two looks of a thread that has nothing to do.
_LOOK = 1.0

# Attempts at a transaction that was in another writer's way.
_ATTEMPTS = 3

# Writes that change nothing and need what a mail's do: the disk, and the locks of its tables.
_PROBE = (
    "UPDATE alembic_version SET version_num = version_num",
    "DELETE FROM mail WHERE id IS NULL",
    "DELETE FROM pending WHERE mail_id IS NULL",
)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much may wait, and how much goes into one transaction, in mails and in octets.

    A single mail larger than `batch_octets` has a transaction of its own.
    """

    mails: int = 1_000
    octets: int = 256 << 20
    batch: int = 200
    batch_octets: int = 16 << 20


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """What became of one delivery, for the log. `seconds`: from the final dot to the verdict."""

    envelope: Envelope
    size: int
    sha256: bytes
    verdict: Decision
    seconds: float


@dataclass(slots=True, eq=False)
class _Waiting:
    envelope: Envelope
    route: tuple[str, ...]
    body: MailBody
    size: int
    since: float
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Decision]


def _no_receipt(_: AcceptResult) -> None:
    """For those who keep no log."""


class Acceptor:
    """`start`, `take` from a loop, `stop`. `committed` is called after each commit, and
    `observe` with what became of each delivery, both in the thread that commits; neither may
    raise, nor take long.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        room: Capacity | None = None,
        clock: Callable[[], datetime] = utcnow,
        committed: Callable[[int], None] = lambda _: None,
        observe: Callable[[AcceptResult], None] = _no_receipt,
        patience: float = BUSY_SECONDS,
    ) -> None:
        """`engine`: for PostgreSQL one of its own, whose transactions are flushed, whatever the
        server's default is; for SQLite the one that others write with, to take turns.
        `patience`: seconds that a sender waits for its verdict, and a transaction for locks.
        """
        self.trouble: str | None = None  # why the database takes nothing, while it does not
        self._engine = engine
        self._room = room or Capacity()
        self._clock = clock
        self._committed = committed
        self._observe = observe
        self._patience = patience
        self._changed = threading.Condition()  # guards what follows
        self._queue: deque[_Waiting] = deque()
        self._mails = self._octets = 0  # that wait, those being committed included
        self._stopping = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", _flush_commits)
            engine.dispose()  # what it has connected before this would go past it

    def start(self) -> None:
        self._thread.start()

    async def take(self, envelope: Envelope, route: tuple[str, ...], body: MailBody) -> Decision:
        """Store a delivery. Once begun it is finished, whether or not the caller waits.

        A verdict that takes longer than `patience` is `TempFail`. A mail that is committed after all
        is known when its sender tries again.
        """
        loop = asyncio.get_running_loop()
        one = _Waiting(
            envelope, route, body, body.size, time.monotonic(), loop, loop.create_future()
        )
        refused = self._enter(one)
        if refused is not None:
            self._observe(_receipt(one, refused))
            return refused
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(one.answer)
        except TimeoutError:
            return self._give_up(one)

    @property
    def waiting(self) -> tuple[int, int]:
        """Mails and octets that wait to be committed."""
        with self._changed:
            return self._mails, self._octets

    def alive(self, since: float) -> bool:
        """Whether the thread has got on, or was idle and able, after `since`
        (`time.monotonic`). A database that is away is no fault of the thread's.
        """
        return self._thread.is_alive() and self._beat >= since

    def stop(self, timeout: float) -> bool:
        """Commit what waits, within that many seconds, and take no more; whether all was done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enter(self, one: _Waiting) -> TempFail | None:
        with self._changed:
            if self._stopping:
                return TempFail(DeliveryReason.STOPPING)
            # One mail is always let in, or a large one would never be.
            full = self._mails >= self._room.mails or self._octets + one.size > self._room.octets
            if full and self._mails:
                return TempFail(DeliveryReason.BUSY)
            self._queue.append(one)
            self._mails += 1
            self._octets += one.size
            self._changed.notify()
            return None

    def _give_up(self, one: _Waiting) -> Decision:
        """Say that the database takes nothing now, of a mail that has waited for too long."""
        late = TempFail(DeliveryReason.DATABASE)
        with self._changed:
            if one not in self._queue:  # it is being committed, and that is finished
                return one.answer.result() if one.answer.done() else late
            self._queue.remove(one)
            self._mails -= 1
            self._octets -= one.size
        self._observe(_receipt(one, late))
        return late

    # --- the thread ---

    def _run(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            self._beat = time.monotonic()
            if batch:
                self._answer(batch, self._store(batch))
            elif self.trouble is not None:
                self._try()

    def _next(self) -> list[_Waiting] | None:
        """What is to be committed together; empty where nothing came, None at the end."""
        with self._changed:
            if not self._queue and not self._stopping:
                self._changed.wait(_LOOK)
            if not self._queue:
                return None if self._stopping else []
            batch: list[_Waiting] = []
            octets = 0
            while self._queue and len(batch) < self._room.batch:
                octets += self._queue[0].size
                if batch and octets > self._room.batch_octets:
                    break
                batch.append(self._queue.popleft())
            return batch

    def _store(self, batch: Sequence[_Waiting]) -> list[Decision]:
        """The verdict on each. Whatever goes wrong, each has one."""
        read = [_delivery(one) for one in batch]
        verdicts = iter(self._commit([one for one in read if one is not None]))
        return [
            TempFail(DeliveryReason.INTERNAL) if one is None else next(verdicts) for one in read
        ]

    def _commit(self, deliveries: Sequence[Delivery]) -> list[Decision]:
        if not deliveries:
            return []
        try:
            new = self._persist(deliveries)
        except Exception as error:  # noqa: BLE001 - see below
            # The one boundary behind which a defect of ours must not lose mail: its sender has it.
            if classify_failure(error) is DatabaseFailure.OUTAGE:
                self._in_trouble(error)
                return [TempFail(DeliveryReason.DATABASE)] * len(deliveries)
            if len(deliveries) == 1:
                LOG.exception("accept-failed")
                return [TempFail(DeliveryReason.INTERNAL)]
            return self._one_by_one(deliveries)
        self.trouble = None
        self._committed(len(deliveries))
        verdicts: list[Decision] = []
        for one in deliveries:
            verdicts.append(
                Accept(DeliveryReason.ACCEPTED if one.sha256 in new else DeliveryReason.KNOWN)
            )
            new.discard(one.sha256)  # the same mail twice in a batch is new once
        return verdicts

    def _one_by_one(self, deliveries: Sequence[Delivery]) -> list[Decision]:
        """One of them is at fault, and the others must not suffer for it."""
        verdicts: list[Decision] = []
        for one in deliveries:
            verdicts += self._commit([one])
            if verdicts[-1] == TempFail(DeliveryReason.DATABASE):
                break  # each further attempt might take as long as this one
        return verdicts + [TempFail(DeliveryReason.DATABASE)] * (len(deliveries) - len(verdicts))

    def _persist(self, deliveries: Sequence[Delivery]) -> set[bytes]:
        """Commit them; the digests of those that are new."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with write_transaction(self._engine, wait=self._patience) as connection:
                    queued = enqueue(connection, deliveries, now=self._clock())
                return {one.sha256 for one in queued if one.is_new}
            except SQLAlchemyError as error:
                if attempt == _ATTEMPTS or classify_failure(error) is not DatabaseFailure.CONFLICT:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _try(self) -> None:
        """While nothing comes: whether the database takes something again. A write, since a
        full disk can be read.
        """
        try:
            with write_transaction(self._engine, wait=self._patience) as connection:
                for statement in _PROBE:
                    connection.execute(text(statement))
        except (SQLAlchemyError, OSError) as error:
            self._in_trouble(error)
        else:
            self.trouble = None

    def _in_trouble(self, error: Exception) -> None:
        said = error_line(error)
        if said != self.trouble:
            LOG.warning("not-committed", extra={"values": {"reason": said}})
        self.trouble = said

    def _answer(self, batch: Sequence[_Waiting], verdicts: Sequence[Decision]) -> None:
        with self._changed:
            self._mails -= len(batch)
            self._octets -= sum(one.size for one in batch)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Decision]]] = {}
        for one, verdict in zip(batch, verdicts, strict=True):
            by_loop.setdefault(one.loop, []).append((one, verdict))
        for loop, some in by_loop.items():
            try:
                loop.call_soon_threadsafe(_tell, some)
            except RuntimeError:  # the loop has ended, and with it everybody who waited
                continue
        for one, verdict in zip(batch, verdicts, strict=True):
            self._observe(_receipt(one, verdict))


def _tell(some: Sequence[tuple[_Waiting, Decision]]) -> None:
    for one, verdict in some:
        if not one.answer.done():
            one.answer.set_result(verdict)


def _receipt(one: _Waiting, verdict: Decision) -> AcceptResult:
    taken = time.monotonic() - one.since
    return AcceptResult(one.envelope, one.size, one.body.sha256, verdict, taken)


def _delivery(one: _Waiting) -> Delivery | None:
    """The delivery, None where its bytes are not there any more: the disk does not give them
    back, or the body was closed since nobody waits for it.
    """
    try:
        raw = one.body.read()
    except (MemoryError, OSError, ValueError):  # ValueError: a closed file's
        LOG.exception("body-unreadable")
        return None
    # A row with other bytes than its digest's would answer the next try with "known", and lose
    # the mail: so they are compared, once more.
    if hashlib.sha256(raw).digest() != one.body.sha256:
        LOG.error("body-changed")
        return None
    return Delivery(
        raw=raw,
        sha256=one.body.sha256,
        source=one.envelope.protocol,
        route=one.route,
        container_errors=_flaws(raw),
        envelope=one.envelope.as_json(),
    )


def _flaws(raw: bytes) -> tuple[Defect, ...]:
    """What only its way here makes a flaw: in an archive, LF alone ends every line. Others than
    us may take such an LF for the end of a line, or of the mail, and this one for two.
    """
    return (Defect.BARE_LF,) if raw.count(b"\n") > raw.count(b"\r\n") else ()


def _flush_commits(connection: object, _record: object) -> None:
    """A commit must be on disk before the sender hears 250, also where a server, for other
    programs, has `synchronous_commit` off. Stronger settings stand.
    """
    with connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'local', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()  # type: ignore[attr-defined]
