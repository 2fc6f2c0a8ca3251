"""Derive accepted mail: claim it from the queue, give it to the workers, and record the results.

One thread keeps the workers busy and records their results: many mails in one transaction where
many are ready, and at once where one is. It survives the loss of its database and of its workers,
and a system that has no descriptor or no space left. What is claimed then stays claimed; what it
can no longer keep is claimed by others when the lease expires. Any other exception is an internal
error, and ends the thread, and with it the process.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
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
from ingest.config.settings import Config
from ingest.daemon.identity import make_identity
from ingest.daemon.jobs import limits
from ingest.daemon.monitoring.log import log_event
from ingest.daemon.monitoring.outcome import (
    DeriveEvent,
    DeriveResult,
    claim_result,
    quarantine_result,
)
from ingest.daemon.recorder import record_claims
from ingest.daemon.workers.pool import WorkerLost, WorkerPool, WorkerResult, WorkersStoppedError
from ingest.model import Derived
from ingest.store.database.errors import error_line
from ingest.store.database.transactions import BUSY_SECONDS
from ingest.store.inbox.queue import TRIES, Claim
from ingest.store.inbox.transactions import (
    QuarantineEntry,
    claim_mails,
    expire_all_claims,
    extend_leases,
    quarantine_claims,
    return_claims,
)

if TYPE_CHECKING:
    from ingest.daemon.dns.stage import DnsStage


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much is claimed, and how often what is checked. Times are in seconds."""

    batch: int = 100  # mails in one transaction
    # The most mails in one claim. What is claimed is derived before what arrives, so that few
    # claimed mails mean that a sender with little mail waits for few of a sender with much.
    claim: int = 50
    # How long a transaction of records should last in SQLite, whose other writers wait for it: it
    # has as many mails as lately took that long, but at least `min_batch`.
    max_write: float = 0.05
    min_batch: int = 10
    max_bytes: int = 64 << 20  # of claimed mail
    lease: float = 30
    poll: float = 2  # for mail that other daemons have queued or abandoned
    linger: float = 0.05  # how long a result waits for others to be recorded with it
    # After a transaction of records, no mail is claimed for `rest` times as long as it took, and
    # for `max_rest` at most: accepting takes precedence on the store, and many mails together cost
    # less to record.
    rest: float = 2
    max_rest: float = 0.5
    timeout: float = BUSY_SECONDS  # of a transaction, for the locks of others


@dataclass(slots=True)
class _Task:
    """A claim that a worker derives."""

    claim: Claim
    future: Future[WorkerResult]
    started: float


@dataclass(frozen=True, slots=True)
class _Finished:
    """A claim whose result waits to be recorded."""

    claim: Claim
    result: WorkerResult
    started: float
    ended: float


# Seconds between attempts at an unavailable database.
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, limits.LAST_WAIT)


class Deriver:
    """Derive mail: call `start`, then `wake` after each commit that queues mail, then `stop`.

    `config` is called for each claim, so that the configuration can be reloaded. `observe` is
    called with the result of each mail after its commit, in the deriver's thread; it must not
    raise or take long.
    """

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], Config],
        workers: WorkerPool | DnsStage,
        *,
        clock: Callable[[], datetime] = utcnow,
        observe: Callable[[DeriveResult], None] = lambda _: None,
        schedule: Schedule | None = None,
        daemon: str = "",
    ) -> None:
        """Make a deriver. `daemon` identifies the daemon whose earlier derivers have all ended."""
        self._daemon = daemon
        self.claimant = f"{daemon}/{make_identity()}" if daemon else make_identity()
        self.counts: Counter[DeriveEvent] = Counter()
        self.error: str | None = None  # why no mail is derived at present
        self.is_database_error = False  # whether a restart of the daemon would not help
        self._engine = engine
        self._config = config
        self._workers = workers
        self._clock = clock
        self._observe = observe
        self._schedule = schedule or Schedule()
        self._thread = threading.Thread(target=self._run, name="deriver", daemon=True)
        self._wakeup = threading.Event()
        self._has_work = True  # whether there may be mail to claim
        self._is_stopping = threading.Event()
        self._stop_at = float("inf")
        self._last_progress = time.monotonic()
        self._tasks: dict[int, _Task] = {}  # by mail id
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()  # mail ids
        self._finished: list[_Finished] = []
        self._leases_extended = self._last_claim = self._rest_until = 0.0
        self._outage: Exception | None = None  # the error of recording in this round
        self._seconds_per_record = 0.0  # lately
        self._is_initialized = False

    def start(self) -> None:
        """Start the workers and the thread."""
        self._workers.start()
        self._thread.start()

    def wake(self) -> None:
        """Note that mail is queued. May be called from any thread, and costs nothing."""
        self._has_work = True
        self._wakeup.set()

    def stop(self, timeout: float) -> bool:
        """Finish what is claimed, return the rest to the queue, and end the workers.

        Takes `timeout` seconds, and ending the workers may take `limits.LAST_WAIT` more. Tells
        whether all was finished or returned; if not, others can claim the rest when its lease
        expires.
        """
        self._stop_at = time.monotonic() + timeout
        self._is_stopping.set()
        self._wakeup.set()
        if self._thread.ident is None:  # it was never started
            return True
        self._thread.join(timeout)
        # A transaction may still wait for a worker, or the last one for the database.
        self._workers.stop()
        self._thread.join(limits.LAST_WAIT)
        return not self._thread.is_alive() and not self._tasks and not self._finished

    def is_alive(self, since: float) -> bool:
        """Tell whether the thread has made progress, or was idle, after `since`.

        `since` is a time of `time.monotonic`. Always False once the thread, or one of the
        workers' threads, has ended.
        """
        return self._thread.is_alive() and self._workers.is_alive and self._last_progress >= since

    # --- the thread ---

    def _run(self) -> None:
        failures = 0
        while not self._is_finished():
            try:
                self._outage = None
                self._run_round()
                self._note_error(self._outage)
            except (SQLAlchemyError, OSError) as error:
                self._note_error(error)
            except WorkersStoppedError:
                break  # raised inside a transaction, which has been rolled back
            if self.error is None:
                failures = 0
                if self._workers.is_complete:
                    self._last_progress = time.monotonic()
                self._wakeup.wait(self._seconds_to_work())
                self._wakeup.clear()
                continue
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            self._has_work = True
            if not self._is_stopping.is_set():
                self._is_stopping.wait(pause)  # `wake` has no effect: others cannot write either
            else:
                time.sleep(min(pause, _PAUSES[0]))
        self._return_all()

    def _note_error(self, error: Exception | None) -> None:
        """Note the error of a round, or its success. An error is logged once while it lasts."""
        text = None if error is None else error_line(error)
        if text is not None and text != self.error:
            log_event("derive-failed", logging.WARNING, reason=text)
        self.is_database_error = isinstance(error, SQLAlchemyError)
        self.error = text

    def _is_finished(self) -> bool:
        if not self._is_stopping.is_set():
            return False
        is_idle = not self._tasks and not self._finished
        return is_idle or time.monotonic() >= self._stop_at

    def _seconds_to_work(self) -> float:
        """Return the seconds until there is something to do even if nobody calls `wake`."""
        now = time.monotonic()
        due = self._last_claim + self._schedule.poll
        if self._has_work:
            due = min(due, self._rest_until)
        if self._finished:
            due = min(due, self._finished[0].ended + self._schedule.linger)
        return max(min(due, self._stop_at) - now, 0.001)

    def _run_round(self) -> None:
        if not self._is_initialized:
            self._initialize()
        self._collect()
        self._extend_leases()
        self._process_finished()
        # In an outage the next transaction would wait as long again without a report.
        if self._outage is None and not self._is_stopping.is_set():
            self._claim()

    def _initialize(self) -> None:
        """End the claims of earlier processes: in SQLite, which this daemon owns, all claims."""
        is_owner = self._engine.dialect.name == "sqlite"
        if is_owner or self._daemon:
            expire_all_claims(
                self._engine,
                clock=self._clock,
                wait=self._schedule.timeout,
                prefix="" if is_owner else f"{self._daemon}/",
            )
        self._is_initialized = True

    # --- claiming ---

    def _claim(self) -> None:
        schedule, now = self._schedule, time.monotonic()
        if now >= self._last_claim + schedule.poll:
            self._has_work, self._last_claim = True, now
        claims = self._all_claims()
        free_bytes = schedule.max_bytes - sum(len(claim.delivery.raw) for claim in claims)
        deriving = len(claims) - self._workers.waiting_for_dns
        if (
            not self._has_work
            or deriving > self._claim_size() // 2
            or free_bytes <= 0
            or now < self._rest_until
        ):
            return
        self._has_work, self._last_claim = False, now
        config = self._config()
        claimed = claim_mails(
            self._engine,
            self.claimant,
            clock=self._clock,
            lease=timedelta(seconds=schedule.lease),
            limit=self._claim_size(),
            most_bytes=free_bytes,
            suspect=not any(claim.suspect for claim in claims),
            exclude=[claim.mail_id for claim in claims],
            wait=schedule.timeout,
        )
        for mail in claimed.quarantined:
            self._report(quarantine_result(mail, now=self._clock()))
        for claim in claimed.claims:
            self._submit(claim, config)
        if claimed.claims or claimed.quarantined:
            self.wake()  # there may be more

    def _claim_size(self) -> int:
        """Return how many mails to claim at once."""
        return min(self._schedule.claim, self._schedule.batch)

    def _all_claims(self) -> list[Claim]:
        return [
            *(task.claim for task in self._tasks.values()),
            *(finished.claim for finished in self._finished),
        ]

    def _submit(self, claim: Claim, config: Config) -> None:
        future = self._workers.submit(claim.delivery, config, first=claim.suspect)
        self._tasks[claim.mail_id] = _Task(claim, future, time.monotonic())
        future.add_done_callback(partial(self._note_done, claim.mail_id))

    def _note_done(self, mail_id: int, _: Future[WorkerResult]) -> None:
        """Note that a worker is done, in the thread of that worker."""
        self._done.put(mail_id)
        self._wakeup.set()

    def _extend_leases(self) -> None:
        """Extend the leases when a third of their time has passed."""
        now = time.monotonic()
        claims = self._all_claims()
        if not claims or now < self._leases_extended + self._schedule.lease / 3:
            return
        extend_leases(
            self._engine,
            self.claimant,
            [claim.mail_id for claim in claims],
            clock=self._clock,
            lease=timedelta(seconds=self._schedule.lease),
            wait=self._schedule.timeout,
        )
        self._leases_extended = now

    # --- results ---

    def _collect(self) -> None:
        while True:
            try:
                mail_id = self._done.get_nowait()
            except queue.Empty:
                return
            task = self._tasks[mail_id]
            try:
                result = task.future.result()
            except (WorkersStoppedError, CancelledError):
                continue  # it stays claimed, and is returned to the queue
            del self._tasks[mail_id]
            self._finished.append(_Finished(task.claim, result, task.started, time.monotonic()))

    def _process_finished(self) -> None:
        """Record, requeue or quarantine the finished mails, when it is time."""
        if not self._finished or not self._is_due():
            return
        requeued = [finished for finished in self._finished if _is_to_requeue(finished)]
        failed = [finished for finished in self._finished if _is_to_quarantine(finished)]
        if requeued:
            self._requeue(requeued)
        if failed:
            self._quarantine(failed, {item.claim.mail_id: _reason(item.result) for item in failed})
        if self._finished:
            self._record(self._finished[: self._record_size()])

    def _record_size(self) -> int:
        """Return how many mails to record in one transaction."""
        schedule = self._schedule
        if self._engine.dialect.name != "sqlite" or not self._seconds_per_record:
            return schedule.batch
        size = int(schedule.max_write / self._seconds_per_record)
        return min(max(size, schedule.min_batch), schedule.batch)

    def _is_due(self) -> bool:
        if self._is_stopping.is_set() or len(self._finished) >= self._schedule.batch:
            return True
        lingers_until = self._finished[0].ended + self._schedule.linger
        return not self._tasks or time.monotonic() >= lingers_until

    def _requeue(self, items: Sequence[_Finished]) -> None:
        claims = [finished.claim for finished in items]
        return_claims(
            self._engine, self.claimant, claims, counted=True, wait=self._schedule.timeout
        )
        self._remove_finished(items)
        for finished in items:
            self._report_claim(DeriveEvent.REQUEUED, finished, _reason(finished.result))
        self._has_work = True

    def _quarantine(self, items: Sequence[_Finished], reasons: dict[int, str]) -> None:
        """Move mails to the quarantine, except those that a delivery has changed meanwhile."""
        entries = [
            QuarantineEntry(finished.claim, reasons[finished.claim.mail_id]) for finished in items
        ]
        locked = quarantine_claims(self._engine, entries, flush=False, wait=self._schedule.timeout)
        self._remove_finished(items)
        self._derive_again(items, locked.changed)
        changed_ids = {claim.mail_id for claim in locked.changed}
        for finished in items:
            mail_id = finished.claim.mail_id
            if mail_id in locked.unchanged:
                self._report_claim(DeriveEvent.QUARANTINED, finished, reasons[mail_id])
            elif mail_id not in changed_ids:
                self._report_claim(DeriveEvent.RECORDED_ELSEWHERE, finished, "")

    def _record(self, items: Sequence[_Finished]) -> None:
        started = time.monotonic()
        result = record_claims(
            self._engine,
            [(item.claim, item.result) for item in items if isinstance(item.result, Derived)],
            self._config(),
            derive_again=self._workers.derive,
            wait=self._schedule.timeout,
        )
        now = time.monotonic()
        self._seconds_per_record = (now - started) / len(items)
        rest = min(self._schedule.rest * (now - started), self._schedule.max_rest)
        self._rest_until = now + rest
        by_id = {finished.claim.mail_id: finished for finished in items}
        rejected = {claim.mail_id: reason for claim, reason in result.rejected}
        kept = {claim.mail_id for claim, _ in result.unprocessed} | rejected.keys()
        self._remove_finished([item for mail_id, item in by_id.items() if mail_id not in kept])
        self._derive_again(items, result.changed)
        for claim, derived in result.recorded:
            reason = derived.ignored or derived.reason
            self._report_claim(DeriveEvent.DERIVED, by_id[claim.mail_id], reason)
        for claim in result.recorded_elsewhere:
            self._report_claim(DeriveEvent.RECORDED_ELSEWHERE, by_id[claim.mail_id], "")
        if result.outage is not None:
            self._outage = result.outage  # what was rejected is tried again with the rest
        elif rejected:
            self._quarantine([by_id[mail_id] for mail_id in rejected], rejected)

    def _derive_again(self, items: Sequence[_Finished], changed: Sequence[Claim]) -> None:
        by_id = {finished.claim.mail_id: finished for finished in items}
        for claim in changed:
            self._report_claim(DeriveEvent.CHANGED, by_id[claim.mail_id], "")
            self._submit(claim, self._config())

    def _remove_finished(self, items: Sequence[_Finished]) -> None:
        mail_ids = {finished.claim.mail_id for finished in items}
        self._finished = [item for item in self._finished if item.claim.mail_id not in mail_ids]
        if any(finished.claim.suspect for finished in items):
            self._has_work = True  # the next suspect

    def _return_all(self) -> None:
        """Return to the queue what could not be finished; it does not count as a try."""
        claims = self._all_claims()
        if not claims:
            return
        try:
            return_claims(
                self._engine, self.claimant, claims, counted=False, wait=self._schedule.timeout
            )
        except (SQLAlchemyError, OSError) as error:
            self._note_error(error)  # others can claim it when the leases expire
            return
        self._tasks.clear()
        self._finished.clear()

    # --- reports ---

    def _report_claim(self, event: DeriveEvent, finished: _Finished, reason: str) -> None:
        self._report(
            claim_result(
                event,
                finished.claim,
                finished.result,
                reason=reason,
                now=self._clock(),
                derive_seconds=time.monotonic() - finished.started,
            )
        )

    def _report(self, result: DeriveResult) -> None:
        self.counts[result.event] += 1
        self._observe(result)


def _is_to_requeue(finished: _Finished) -> bool:
    return isinstance(finished.result, WorkerLost) and finished.claim.tries < TRIES


def _is_to_quarantine(finished: _Finished) -> bool:
    return not isinstance(finished.result, Derived) and not _is_to_requeue(finished)


def _reason(result: WorkerResult) -> str:
    assert not isinstance(result, Derived)
    return result.reason
