"""Test accepting and deriving of thousands of damaged mails, with a ledger of the results.

The mails are mutations of the fixtures, the same ones each time. Some are harmful: their worker
is killed, runs out of memory or never ends, as our own parser might, but should not. None may be
lost, each must be reported once, and each worker's end must have a known cause.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from sqlalchemy import func, select

from ingest.config.settings import Config
from ingest.daemon.deriver import Deriver, Schedule
from ingest.daemon.monitoring.outcome import DeriveEvent, DeriveResult
from ingest.daemon.workers.pool import WorkerEnd, WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from ingest.model import Delivery
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.quarantine import list_quarantine, queue_lengths
from ingest.store.inbox.queue import TRIES, enqueue
from tests.support.bad_worker import PROGRAM
from tests.support.mails import NOW, delivery
from tests.support.waiting import until
from tests.system.test_fuzz import mutated

# Mails that share ids, people and threads. Mutations of some dozens of fixtures would else all
# be copies of some dozens of messages, which no list's mail is.
EPOCH = 250
# What is accepted in one transaction, and how far acceptance may be ahead.
GROUP = 50
AHEAD = 1_000
PATIENCE = 300

# The kinds of harmful mail, and how their workers end.
POISON = {
    b"kill SIGKILL": ("parse-failed: worker died (signal 9)", WorkerEnd.SIGNAL),
    b"kill SIGSEGV": ("parse-failed: worker died (signal 11)", WorkerEnd.SIGNAL),
    b"exit 1": ("parse-failed: worker died (status 1)", WorkerEnd.STATUS),
    b"eat": ("parse-failed: memory", WorkerEnd.MEMORY),
    b"spin": ("parse-failed: timeout", WorkerEnd.TIMEOUT),
}

_ADDRESS = re.compile(rb"([A-Za-z0-9.+_-])@([A-Za-z0-9])")


def hurt_mail(count: int) -> Iterator[bytes]:
    """Return so many damaged mails; each epoch has its own addresses and ids."""
    for number in range(count):
        raw = mutated(Random(number))
        yield _ADDRESS.sub(rb"\g<1>.e%d@\g<2>" % (number // EPOCH), raw)


def poisoned(count: int, every: int) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield damaged mail, and with each `every`-th one what it does to its worker."""
    kinds = list(POISON)
    for number, raw in enumerate(hurt_mail(count)):
        if number % every == every // 2:
            what = kinds[number // every % len(kinds)]
            yield b"X-Do: " + what + b"\n" + raw, what
        else:
            yield raw, None


@dataclass(slots=True)
class Ledger:
    """The mails, and the reported results."""

    given: set[bytes] = field(default_factory=set)
    poison: dict[bytes, bytes] = field(default_factory=dict)
    results: dict[bytes, list[DeriveResult]] = field(default_factory=dict)

    def observe(self, outcome: DeriveResult) -> None:
        self.results.setdefault(outcome.sha256, []).append(outcome)

    def lines(self, workers: WorkerPool, seconds: float) -> Iterator[str]:
        last = Counter(replies[-1].event for replies in self.results.values())
        counts = workers.counts()
        yield f"accepted      {len(self.given)} in {seconds:.0f} s"
        for what in DeriveEvent:
            yield f"{what:<13} {last[what]}"
        reasons = Counter(
            replies[-1].reason
            for replies in self.results.values()
            if replies[-1].event is DeriveEvent.QUARANTINED
        )
        yield from (f"  {count:>6} {reason}" for reason, count in sorted(reasons.items()))
        tries = sum(
            reply.event is DeriveEvent.REQUEUED
            for replies in self.results.values()
            for reply in replies
        )
        yield f"tries in vain {tries}"
        yield f"workers       {counts.started} started, {counts.running} running"
        yield from (f"  {count:>6} {end}" for end, count in counts.ended.items() if count)


def run(url: str, count: int, every: int, seconds: float) -> None:
    """Derive so many mails, each `every`-th of them harmful, with so many seconds for one mail."""
    engine = open_store(url, create=True)
    ledger = Ledger()
    workers = WorkerPool(
        2, limits=WorkerLimits(seconds=seconds, memory=256 << 20, mails=500), program=PROGRAM
    )
    deriver = Deriver(engine, Config, workers, observe=ledger.observe, schedule=Schedule(poll=0.5))
    deriver.start()
    started = time.monotonic()

    def finished() -> int:
        ended = (DeriveEvent.DERIVED, DeriveEvent.QUARANTINED)
        return sum(deriver.counts[what] for what in ended)

    group: list[Delivery] = []
    for raw, what in poisoned(count, every):
        one = delivery(raw)
        if what is not None:
            ledger.poison[one.sha256] = what
        group.append(one)
        if len(group) == GROUP:
            with write_transaction(engine) as connection:
                enqueue(connection, group, now=NOW)
            ledger.given.update(delivered.sha256 for delivered in group)
            deriver.wake()
            group = []
            until(lambda: len(ledger.given) - finished() < AHEAD)
    assert not group, "whole groups"
    until(lambda: finished() == len(ledger.given))
    took = time.monotonic() - started
    assert deriver.stop(PATIENCE)
    print("", *ledger.lines(workers, took), sep="\n")  # noqa: T201 - the ledger is the result

    # None is lost: each has its bytes, and its records or its reason.
    with engine.connect() as connection:
        kept = connection.execute(select(schema.mail.c.sha256)).scalars()
        assert {bytes(sha256) for sha256 in kept} == ledger.given
        left = queue_lengths(connection)
        quarantined = {entry.sha256: entry for entry in list_quarantine(connection)}
        copies = connection.execute(select(func.count()).select_from(schema.copy)).scalar_one()
    assert left.waiting == 0
    assert copies + len(quarantined) == len(ledger.given)
    # Each is reported once.
    for sha256 in ledger.given:
        whats = [reply.event for reply in ledger.results[sha256]]
        assert whats[-1] in (DeriveEvent.DERIVED, DeriveEvent.QUARANTINED)
        assert set(whats[:-1]) <= {DeriveEvent.REQUEUED}
    # Only harmful mail is quarantined, for its own reason and after so many tries.
    assert {key: (entry.reason, entry.tries) for key, entry in quarantined.items()} == {
        key: (POISON[what][0], TRIES) for key, what in ledger.poison.items()
    }
    # Each worker's end is known; those caused by a mail are that mail's tries.
    counts = workers.counts()
    assert counts.running == 0
    assert counts.started == sum(counts.ended.values())
    for end in {end for _, end in POISON.values()}:
        poison = sum(POISON[what][1] is end for what in ledger.poison.values())
        assert counts.ended[end] == TRIES * poison, end
    assert (
        counts.ended[WorkerEnd.IDLE] == counts.ended[WorkerEnd.UNREADY] == counts.not_started == 0
    )
    if count <= 10_000:
        shown = [
            fault for fault in check_store(engine, Config()).faults if fault.area != "quarantine"
        ]
        assert shown == []
    engine.dispose()


def test_hurt_mail_is_derived_or_set_aside(database_url: str) -> None:
    run(database_url, 750, 250, 30)  # none that never ends


@pytest.mark.torture
def test_a_hundred_thousand_hurt_mails_are_derived_or_set_aside(database_url: str) -> None:
    run(database_url, 100_000, 2_000, 8)
