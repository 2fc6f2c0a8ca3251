"""What was accepted, into records: claims from the queue, has derived, and writes.

One thread keeps the workers fed and records what they hand back, many mails in a transaction
where many are there, and at once where one is. It survives the loss of its database and of its
workers, and a system that has no descriptor or no space for it now; what is in hand then stays in
hand, and what it can no longer hold on to is taken up by others when the lease is over. Any other
exception is a defect of ours, and ends the thread, and with it the daemon.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.clock import utcnow
from ingest.config.file import Config
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.monitoring.outcome import (
    DeriveEvent,
    DeriveResult,
    claim_result,
    quarantine_result,
)
from ingest.daemon.recorder import record_claims
from ingest.daemon.workers.pool import WorkerLost, WorkerPool, WorkerResult, WorkersStoppedError
from ingest.model import Derived, Failure
from ingest.store.engine import BUSY_SECONDS, error_line, unflushed_transaction
from ingest.store.inbox.quarantine import move_to_quarantine
from ingest.store.inbox.queue import (
    TRIES,
    Claim,
    claim,
    end_all_claims,
    lock_claims,
    release_claims,
    renew_leases,
)

if TYPE_CHECKING:
    from ingest.daemon.dns.stage import DnsStage


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much is taken in hand, and how often what is looked at. Times are in seconds."""

    batch: int = 100  # mails in one transaction
    most_bytes: int = 64 << 20  # in hand
    lease: float = 30
    poll: float = 2  # for what others have queued, and what others have left
    linger: float = 0.05  # how long what is derived waits for more to be recorded with it
    # How many times as long as it has recorded, and how long at most, it then claims nothing more:
    # mail that comes in has the store, and of many mails together each costs less to record.
    rest: float = 2
    most_rest: float = 0.5
    patience: float = BUSY_SECONDS  # of a transaction, for the locks of others


@dataclass(slots=True)
class _InHand:
    claim: Claim
    future: Future[WorkerResult]
    since: float


@dataclass(frozen=True, slots=True)
class _Answered:
    claim: Claim
    answer: WorkerResult
    since: float
    at: float


# Seconds between attempts at a database that is not there.
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# Seconds that `stop` may take beyond those that it is given.
LAST_WAIT = _PAUSES[-1]


class Deriver:
    """`start`, then `wake` after each commit that queued mail, then `stop`.

    `config` is asked anew for each claim, so that it may be reloaded. `observe` is told of each
    mail once that is committed, in the deriver's thread; it must not raise, nor take long.
    """

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], Config],
        workers: WorkerPool | DnsStage,
        *,
        clock: Callable[[], datetime] = utcnow,
        observe: Callable[[DeriveResult], None] = lambda _: None,
        pace: Schedule | None = None,
    ) -> None:
        self.who = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.counts: Counter[DeriveEvent] = Counter()
        self.trouble: str | None = None  # why it does not get on, while it does not
        self.away = False  # whether that is the database's, which no new start would bring back
        self._engine = engine
        self._config = config
        self._workers = workers
        self._clock = clock
        self._observe = observe
        self._pace = pace or Schedule()
        self._thread = threading.Thread(target=self._run, name="deriver", daemon=True)
        self._bell = threading.Event()
        self._look = True
        self._halt = threading.Event()
        self._stop_at = float("inf")
        self._beat = time.monotonic()
        self._in_hand: dict[int, _InHand] = {}
        self._answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: list[_Answered] = []
        self._renewed = self._looked = self._rest = 0.0
        self._outage: Exception | None = None  # what recording met with in this round
        self._begun = False

    def start(self) -> None:
        """Begin, workers included."""
        self._workers.start()
        self._thread.start()

    def wake(self) -> None:
        """There is something in the queue. May be called from any thread, and costs nothing."""
        self._look = True
        self._bell.set()

    def stop(self, timeout: float) -> bool:
        """Finish what is in hand, within that many seconds, give the rest back, and end the
        workers, which may take `LAST_WAIT` more. Whether all was finished or given back; else
        leases will free it.
        """
        self._stop_at = time.monotonic() + timeout
        self._halt.set()
        self._bell.set()
        if self._thread.ident is None:  # it was never started
            return True
        self._thread.join(timeout)
        # A transaction may still wait for an answer, or the last one for the database.
        self._workers.stop()
        self._thread.join(LAST_WAIT)
        return not self._thread.is_alive() and not self._in_hand and not self._ready

    def alive(self, since: float) -> bool:
        """Whether it has got on, or was idle and able, after `since` (`time.monotonic`). Never
        again once its thread, or one of its workers', has ended.
        """
        return self._thread.is_alive() and self._workers.alive and self._beat >= since

    # --- the thread ---

    def _run(self) -> None:
        failures = 0
        while not self._finished():
            try:
                self._outage = None
                self._round()
                self._note(self._outage)
            except (SQLAlchemyError, OSError) as error:
                self._note(error)
            except WorkersStoppedError:
                break  # from within a transaction, which has been rolled back
            if self.trouble is None:
                failures = 0
                if self._workers.able:
                    self._beat = time.monotonic()
                pause = self._pause()
            else:
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                self._look = True
            if self.trouble is None:
                self._bell.wait(pause)
                self._bell.clear()
            elif not self._halt.is_set():
                self._halt.wait(pause)  # not to be woken: nobody else can write either
            else:
                time.sleep(min(pause, _PAUSES[0]))
        self._let_go()

    def _note(self, error: Exception | None) -> None:
        """What the round has met with; said once, while it is the same."""
        said = None if error is None else error_line(error)
        if said is not None and said != self.trouble:
            log_event("not-derived", logging.WARNING, reason=said)
        self.away = isinstance(error, SQLAlchemyError)
        self.trouble = said

    def _finished(self) -> bool:
        if not self._halt.is_set():
            return False
        nothing = not self._in_hand and not self._ready
        return nothing or time.monotonic() >= self._stop_at

    def _pause(self) -> float:
        """Seconds until there is something to do even if nobody rings."""
        now = time.monotonic()
        due = self._looked + self._pace.poll
        if self._look:
            due = min(due, self._rest)
        if self._ready:
            due = min(due, self._ready[0].at + self._pace.linger)
        return max(min(due, self._stop_at) - now, 0.001)

    def _round(self) -> None:
        if not self._begun:
            self._begin()
        self._collect()
        self._keep()
        self._settle()
        # With an outage the next transaction would wait as long again, and nobody hear of it.
        if self._outage is None and not self._halt.is_set():
            self._claim()

    def _begin(self) -> None:
        """SQLite: this daemon owns the store, and an earlier life of it has nothing in hand."""
        if self._engine.dialect.name == "sqlite":
            with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
                end_all_claims(connection, now=self._clock())
        self._begun = True

    # --- claiming ---

    def _claim(self) -> None:
        now = time.monotonic()
        if now >= self._looked + self._pace.poll:
            self._look, self._looked = True, now
        held = self._held()
        room = self._pace.most_bytes - sum(len(one.delivery.raw) for one in held)
        at_work = len(held) - self._workers.asking
        if not self._look or at_work > self._pace.batch or room <= 0 or now < self._rest:
            return
        self._look, self._looked = False, now
        config = self._config()
        with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
            claimed = claim(
                connection,
                self.who,
                now=self._clock(),
                lease=timedelta(seconds=self._pace.lease),
                limit=self._pace.batch,
                max_bytes=room,
                suspects=not any(one.suspect for one in held),
                exclude=[one.mail_id for one in held],
            )
        for one in claimed.quarantined:
            self._tell(quarantine_result(one, now=self._clock()))
        for one_claim in claimed.claims:
            self._submit(one_claim, config)
        if claimed.claims or claimed.quarantined:
            self.wake()  # there may be more

    def _held(self) -> list[Claim]:
        return [
            *(one.claim for one in self._in_hand.values()),
            *(one.claim for one in self._ready),
        ]

    def _submit(self, one: Claim, config: Config) -> None:
        future = self._workers.submit(one.delivery, config, first=one.suspect)
        self._in_hand[one.mail_id] = _InHand(one, future, time.monotonic())
        future.add_done_callback(partial(self._answered, one.mail_id))

    def _answered(self, mail_id: int, _: Future[WorkerResult]) -> None:
        """In a worker's thread."""
        self._answers.put(mail_id)
        self._bell.set()

    def _keep(self) -> None:
        """Renew the leases in good time."""
        now = time.monotonic()
        held = self._held()
        if not held or now < self._renewed + self._pace.lease / 3:
            return
        with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
            until = self._clock() + timedelta(seconds=self._pace.lease)
            renew_leases(connection, self.who, [one.mail_id for one in held], until=until)
        self._renewed = now

    # --- what comes back ---

    def _collect(self) -> None:
        while True:
            try:
                mail_id = self._answers.get_nowait()
            except queue.Empty:
                return
            one = self._in_hand[mail_id]
            try:
                answer = one.future.result()
            except (WorkersStoppedError, CancelledError):
                continue  # it stays in hand, and is given back
            del self._in_hand[mail_id]
            self._ready.append(_Answered(one.claim, answer, one.since, time.monotonic()))

    def _settle(self) -> None:
        """Record what is derived, and put elsewhere what is not, when it is time."""
        if not self._ready or not self._due():
            return
        fallen = [one for one in self._ready if _to_be_tried_again(one)]
        failed = [one for one in self._ready if _to_be_set_aside(one)]
        if fallen:
            self._give_back(fallen)
        if failed:
            self._set_aside(failed)
        if self._ready:
            self._record(self._ready[: self._pace.batch])

    def _due(self) -> bool:
        if self._halt.is_set() or len(self._ready) >= self._pace.batch:
            return True
        return not self._in_hand or time.monotonic() >= self._ready[0].at + self._pace.linger

    def _give_back(self, some: Sequence[_Answered]) -> None:
        with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
            release_claims(connection, self.who, [one.claim for one in some], failed=True)
        self._done_with(some)
        for one in some:
            assert isinstance(one.answer, WorkerLost)
            self._report(DeriveEvent.RETRIED, one, one.answer.reason)
        self._look = True

    def _set_aside(self, some: Sequence[_Answered]) -> None:
        reasons = {one.claim.mail_id: _reason(one.answer) for one in some}
        self._set_aside_for(some, reasons)

    def _set_aside_for(self, some: Sequence[_Answered], reasons: dict[int, str]) -> None:
        """Move mails to the quarantine, but those of which there is now more to be tried."""
        with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
            held = lock_claims(connection, [one.claim for one in some])
            rows = {
                one.claim.mail_id: (reasons[one.claim.mail_id], one.claim.tries)
                for one in some
                if one.claim.mail_id in held.unchanged
            }
            move_to_quarantine(connection, rows)
        self._done_with(some)
        self._anew(some, held.changed)
        changed = {one.mail_id for one in held.changed}
        for one in some:
            if one.claim.mail_id in held.unchanged:
                self._report(DeriveEvent.QUARANTINED, one, reasons[one.claim.mail_id])
            elif one.claim.mail_id not in changed:
                self._report(DeriveEvent.ELSEWHERE, one, "")

    def _record(self, some: Sequence[_Answered]) -> None:
        begun = time.monotonic()
        items = [(one.claim, one.answer) for one in some if isinstance(one.answer, Derived)]
        by_id = {one.claim.mail_id: one for one in some}
        result = record_claims(
            self._engine,
            items,
            self._config(),
            derive_again=self._workers.derive,
            wait=self._pace.patience,
        )
        now = time.monotonic()
        self._rest = now + min(self._pace.rest * (now - begun), self._pace.most_rest)
        left = {claim.mail_id for claim, _ in result.left}
        refused = {claim.mail_id: reason for claim, reason in result.refused}
        self._done_with([one for key, one in by_id.items() if key not in left | refused.keys()])
        self._anew(some, result.changed)
        for claim_, derived in result.done:
            reason = derived.ignored or derived.reason
            self._report(DeriveEvent.DERIVED, by_id[claim_.mail_id], reason)
        for claim_ in result.gone:
            self._report(DeriveEvent.ELSEWHERE, by_id[claim_.mail_id], "")
        if result.outage is not None:
            self._outage = result.outage  # what was refused is tried again with the rest
        elif refused:
            self._set_aside_for([by_id[key] for key in refused], refused)

    def _anew(self, some: Sequence[_Answered], changed: Sequence[Claim]) -> None:
        by_id = {one.claim.mail_id: one for one in some}
        for one in changed:
            self._report(DeriveEvent.CHANGED, by_id[one.mail_id], "")
            self._submit(one, self._config())

    def _done_with(self, some: Sequence[_Answered]) -> None:
        ids = {one.claim.mail_id for one in some}
        self._ready = [one for one in self._ready if one.claim.mail_id not in ids]
        if any(one.claim.suspect for one in some):
            self._look = True  # for the next suspect

    def _let_go(self) -> None:
        """At the end: give back, uncounted, what could not be finished."""
        held = self._held()
        if not held:
            return
        try:
            with unflushed_transaction(self._engine, wait=self._pace.patience) as connection:
                release_claims(connection, self.who, held, failed=False)
        except (SQLAlchemyError, OSError) as error:
            self._note(error)  # the leases will free it
            return
        self._in_hand.clear()
        self._ready.clear()

    # --- telling ---

    def _report(self, what: DeriveEvent, one: _Answered, reason: str) -> None:
        self._tell(
            claim_result(
                what,
                one.claim,
                one.answer,
                reason=reason,
                now=self._clock(),
                worked=time.monotonic() - one.since,
            )
        )

    def _tell(self, outcome: DeriveResult) -> None:
        self.counts[outcome.what] += 1
        self._observe(outcome)


def _to_be_tried_again(one: _Answered) -> bool:
    return isinstance(one.answer, WorkerLost) and one.claim.tries < TRIES


def _to_be_set_aside(one: _Answered) -> bool:
    return not isinstance(one.answer, Derived) and not _to_be_tried_again(one)


def _reason(answer: WorkerResult) -> str:
    assert isinstance(answer, Failure | WorkerLost)
    return answer.reason
