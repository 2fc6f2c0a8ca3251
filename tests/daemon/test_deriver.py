"""Test that accepted mail becomes records, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingest.config.settings import Config, ConfiguredList
from ingest.daemon import deriver, recorder
from ingest.daemon.deriver import Schedule
from ingest.daemon.monitoring.outcome import DeriveEvent
from ingest.daemon.workers.pool import WorkerEnd
from ingest.daemon.workers.process import WorkerLimits
from ingest.model import Delivery
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.inbox import queue
from ingest.store.inbox.quarantine import QueueLengths
from ingest.store.inbox.queue import claim, enqueue
from tests.support import mails
from tests.support.bad_worker import bad
from tests.support.deriver import DeriverHarness, StartDeriver
from tests.support.mails import NOW, delivery
from tests.support.waiting import PATIENCE, until

ARCHIVE = [delivery(raw) for raw in mails.little_archive(6)]


def export_of(tmp_path: Path, given: Sequence[Delivery], config: Config | None = None) -> str:
    """Return the export of a store that receives these deliveries at once."""
    engine = open_store(f"sqlite:///{tmp_path / 'at-once.db'}", create=True)
    mails.store(engine, given, config)
    exported = mails.exported(engine)
    engine.dispose()
    return exported


# --- the way of most mail ---------------------------------------------------------------------


def test_queued_mail_gets_the_records_of_a_replay(start: StartDeriver, tmp_path: Path) -> None:
    config = Config(lists=(ConfiguredList("dev", mails.LIST),))
    daemon = start(config=config)
    daemon.put(ARCHIVE[:1])
    daemon.until_done()
    daemon.put(ARCHIVE)
    daemon.until_done()
    assert mails.exported(daemon.engine) == export_of(tmp_path, ARCHIVE, config)
    assert check_store(daemon.engine, config).faults == ()
    until(lambda: len(daemon.results) == len(ARCHIVE))
    assert daemon.deriver.counts == daemon.outcomes() == {DeriveEvent.DERIVED: len(ARCHIVE)}


def test_the_result_that_is_reported_of_a_mail(start: StartDeriver) -> None:
    daemon = start()
    raw = mails.patch("p@example.org")
    daemon.put([delivery(raw)])
    until(lambda: bool(daemon.results))
    (one,) = daemon.results
    assert (one.event, one.msgid, one.kind) == (DeriveEvent.DERIVED, "<p@example.org>", "patch")
    assert (one.sha256, one.size, one.tries) == (delivery(raw).sha256, len(raw), 1)
    assert (one.reason, one.accepted) == ("diff", NOW)
    assert one.total_seconds > one.derive_seconds > 0


def test_mail_queued_by_others_is_found(start: StartDeriver) -> None:
    daemon = start()
    other = create_engine(daemon.engine.url)
    with write_transaction(other) as connection:
        enqueue(connection, ARCHIVE[:2], now=NOW)
    other.dispose()
    daemon.until_done()


def test_it_is_alive_when_idle_and_able(start: StartDeriver) -> None:
    daemon = start()
    until(lambda: daemon.deriver.is_alive(time.monotonic() - 0.01))
    assert daemon.deriver.error is None
    assert daemon.end()
    assert not daemon.deriver.is_alive(0)


def test_a_deriver_that_was_never_started_is_stopped(store_url: str) -> None:
    daemon = DeriverHarness(store_url)
    assert daemon.end()
    daemon.engine.dispose()


def test_it_is_not_alive_without_workers(store_url: str) -> None:
    daemon = DeriverHarness(store_url)
    daemon.workers._program = ("-c", "")
    daemon.deriver.start()
    daemon.put(ARCHIVE[:1])
    until(lambda: daemon.workers.counts().ended[WorkerEnd.UNREADY] >= 2)
    since = time.monotonic()
    time.sleep(0.5)
    assert not daemon.deriver.is_alive(since)
    assert daemon.end(0.1), "claimed mail is returned"
    assert daemon.lengths() == QueueLengths(1, 0)
    daemon.engine.dispose()


# --- poison -----------------------------------------------------------------------------------


def test_a_harmful_mail_is_quarantined_and_the_others_are_derived(
    start: StartDeriver,
) -> None:
    daemon = start(obeys=True, limits=WorkerLimits(seconds=6, memory=256 << 20))
    poison = {
        "kill SIGKILL": "parse-failed: worker died (signal 9)",
        "eat": "parse-failed: memory",
        "sleep": "parse-failed: timeout",
        "raise": "parse-failed: worker died (status 1)",
    }
    given = {what: delivery(bad(what, f"{what.split()[0]}@example.org")) for what in poison}
    daemon.put(list(given.values()))
    daemon.put(ARCHIVE)
    until(lambda: daemon.outcomes()[DeriveEvent.DERIVED] == len(ARCHIVE))
    assert daemon.reasons().keys() < {delivery.sha256 for delivery in given.values()}, (
        "not behind them"
    )
    daemon.until_done()
    assert daemon.reasons() == {given[what].sha256: (poison[what], 3) for what in poison}
    until(lambda: daemon.outcomes()[DeriveEvent.QUARANTINED] == len(poison))
    assert daemon.outcomes()[DeriveEvent.REQUEUED] == 2 * len(poison)
    ended = daemon.workers.counts().ended
    assert {
        end: ended[end]
        for end in (WorkerEnd.SIGNAL, WorkerEnd.MEMORY, WorkerEnd.TIMEOUT, WorkerEnd.STATUS)
    } == (
        dict.fromkeys((WorkerEnd.SIGNAL, WorkerEnd.MEMORY, WorkerEnd.TIMEOUT, WorkerEnd.STATUS), 3)
    )


def test_a_worker_that_dies_by_chance_costs_a_try_and_no_mail(
    start: StartDeriver, tmp_path: Path
) -> None:
    daemon = start(obeys=True)
    better = tmp_path / "better"
    one = delivery(bad(f"die-until {better}"))
    daemon.put([one])
    until(lambda: daemon.outcomes()[DeriveEvent.REQUEUED] >= 1)
    better.touch()
    daemon.until_done()
    until(lambda: daemon.outcomes()[DeriveEvent.DERIVED] == 1)
    assert daemon.results[-1].tries == daemon.outcomes()[DeriveEvent.REQUEUED] + 1
    assert daemon.reasons() == {}


def test_workers_that_are_killed_at_random_lose_nothing(
    start: StartDeriver, tmp_path: Path
) -> None:
    daemon = start()
    given = [delivery(raw) for raw in mails.little_archive(20)]
    chance = random.Random(4)
    for at in range(0, len(given), 5):
        daemon.put(given[at : at + 5])
        time.sleep(chance.uniform(0, 0.02))
        for pid in daemon.workers.pids[: chance.randint(0, 2)]:
            os.kill(pid, signal.SIGKILL)
    daemon.until_done()
    assert daemon.reasons() == {}
    assert mails.exported(daemon.engine) == export_of(tmp_path, given)
    until(lambda: daemon.outcomes()[DeriveEvent.DERIVED] == len(given))
    ended = daemon.workers.counts().ended
    assert daemon.outcomes()[DeriveEvent.REQUEUED] == ended[WorkerEnd.SIGNAL]


def test_after_recording_the_store_is_left_to_the_acceptor(
    start: StartDeriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail that arrives meanwhile is recorded together, which costs much less than one by one."""
    together: list[int] = []
    record = deriver.record_claims

    def slow(*given: Any, **more: Any) -> Any:
        together.append(len(given[1]))
        time.sleep(0.1)
        return record(*given, **more)

    monkeypatch.setattr(deriver, "record_claims", slow)
    daemon = start(schedule=Schedule(rest=PATIENCE, max_rest=6))
    daemon.put(ARCHIVE[:1])
    until(lambda: daemon.outcomes()[DeriveEvent.DERIVED] == 1)
    for raw in ARCHIVE[1:7]:
        daemon.put([raw])
    daemon.until_done()
    assert together == [1, 6]


# --- in between -------------------------------------------------------------------------------


def test_a_delivery_that_adds_a_list_to_a_claimed_mail(start: StartDeriver, tmp_path: Path) -> None:
    daemon = start(obeys=True, limits=WorkerLimits(seconds=PATIENCE))
    gate = tmp_path / "gate"
    raw = bad(f"wait {gate}")
    daemon.put([delivery(raw)])
    until(Path(f"{gate}.waits").exists)
    again = delivery(raw, route=("b.example.org",))
    daemon.put([again])
    gate.touch()
    daemon.until_done()
    assert mails.exported(daemon.engine) == export_of(tmp_path, [again])
    until(lambda: daemon.outcomes() == {DeriveEvent.CHANGED: 1, DeriveEvent.DERIVED: 1})


def test_a_claimed_mail_that_somebody_else_records(start: StartDeriver, tmp_path: Path) -> None:
    daemon = start(obeys=True, limits=WorkerLimits(seconds=PATIENCE))
    gate = tmp_path / "gate"
    one = delivery(bad(f"wait {gate}"))
    daemon.put([one])
    until(Path(f"{gate}.waits").exists)
    mails.store(daemon.engine, [one])
    gate.touch()
    until(lambda: daemon.outcomes() == {DeriveEvent.RECORDED_ELSEWHERE: 1})
    assert mails.exported(daemon.engine) == export_of(tmp_path, [one])


def test_mail_that_cannot_be_finished_in_time_is_returned(start: StartDeriver) -> None:
    daemon = start(obeys=True, limits=WorkerLimits(seconds=PATIENCE))
    daemon.put([delivery(bad("sleep"))])
    until(lambda: bool(daemon.deriver._tasks))
    daemon.put(ARCHIVE[:3])
    until(lambda: daemon.lengths().waiting == 1)
    assert daemon.end(0.2)
    pending = schema.pending.c
    with daemon.engine.connect() as connection:
        row = connection.execute(select(pending.tries, pending.claimed_by, pending.reason)).one()
    assert tuple(row) == (0, None, None)


def test_leases_of_claimed_mail_are_extended(start: StartDeriver, tmp_path: Path) -> None:
    daemon = start(
        obeys=True, limits=WorkerLimits(seconds=PATIENCE), schedule=Schedule(poll=0.1, lease=1.5)
    )
    gate = tmp_path / "gate"
    daemon.put([delivery(bad(f"wait {gate}"))])
    until(Path(f"{gate}.waits").exists)

    def lease() -> Any:
        with daemon.engine.connect() as connection:
            return connection.execute(select(schema.pending.c.claimed_until)).scalar_one()

    first = lease()
    until(lambda: lease() > first)
    with unflushed_transaction(daemon.engine) as connection:
        other = claim(connection, "other", now=first, lease=timedelta(1), limit=9)
    assert other.claims == ()
    gate.touch()
    daemon.until_done()


def test_claims_of_a_killed_process_of_this_daemon_are_free_at_once(
    start: StartDeriver, store_url: str
) -> None:
    """Not only when their leases end: the parent knows that the process has ended."""
    engine = open_store(store_url, create=True)
    with write_transaction(engine) as connection:
        enqueue(connection, ARCHIVE, now=NOW)
        before = mails.START.replace(year=2020)
        claim(connection, "mx:1:a/mx:2:b", now=before, lease=timedelta(9_999), limit=9)
    engine.dispose()
    start(daemon="mx:1:a").until_done()


def test_the_claims_of_a_dead_daemon_are_taken_over(start: StartDeriver, store_url: str) -> None:
    """In SQLite at once, since no other daemon can have them; in PostgreSQL when the lease
    expires."""
    engine = open_store(store_url, create=True)
    with write_transaction(engine) as connection:
        enqueue(connection, ARCHIVE, now=NOW)
    lease = timedelta(days=9_999 if engine.dialect.name == "sqlite" else 0)
    with write_transaction(engine) as connection:
        claim(connection, "dead", now=mails.START.replace(year=2020), lease=lease, limit=9)
    engine.dispose()
    daemon = start()
    daemon.until_done()
    until(lambda: daemon.outcomes() == {DeriveEvent.DERIVED: len(ARCHIVE)})


# --- the database -----------------------------------------------------------------------------


def test_a_database_that_fails_for_a_while(start: StartDeriver, tmp_path: Path) -> None:
    daemon = start()
    until(lambda: daemon.deriver._is_initialized)
    failing = True

    def fail(*_: object) -> None:
        if failing:
            raise OperationalError("SELECT", {}, OSError("disk I/O error"))

    daemon.put(ARCHIVE)
    event.listen(daemon.engine, "before_cursor_execute", fail)
    until(lambda: daemon.deriver.error is not None)
    assert daemon.deriver.is_database_error
    since = time.monotonic()
    daemon.deriver.wake()
    time.sleep(0.3)
    assert not daemon.deriver.is_alive(since)
    failing = False
    daemon.until_done()
    assert mails.exported(daemon.engine) == export_of(tmp_path, ARCHIVE)
    until(lambda: daemon.deriver.is_alive(since))
    assert daemon.reasons() == {}


@pytest.mark.parametrize("step", ["claiming", "recording"])
def test_a_database_that_is_locked_is_waited_for(
    start: StartDeriver, tmp_path: Path, step: str
) -> None:
    gate = tmp_path / "gate"
    one = delivery(bad(f"wait {gate}"))
    daemon = start(
        obeys=True, limits=WorkerLimits(seconds=PATIENCE), schedule=Schedule(poll=0.1, timeout=0.2)
    )
    if step == "recording":
        daemon.put([one])
        until(Path(f"{gate}.waits").exists)
    gate.touch()
    other = open_store(daemon.engine.url.render_as_string(hide_password=False))
    with write_transaction(other) as connection:
        if other.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE mail, pending IN ACCESS EXCLUSIVE MODE"))
        until(lambda: daemon.deriver.error is not None)
        assert "; another " in (daemon.deriver.error or "")
        assert daemon.deriver.is_database_error, "keep-alive messages are sent"
        if step == "claiming":
            enqueue(connection, [one], now=NOW)
    other.dispose()
    daemon.until_done()
    until(lambda: daemon.deriver.error is None)
    assert daemon.reasons() == {}
    assert mails.exported(daemon.engine) == export_of(tmp_path, [one])


# The function by which each step calls the system, and the one that replaces it.
STEPS = {"claiming": (queue, "claim"), "recording": (recorder, "record_mails")}


@pytest.mark.parametrize("step", STEPS)
def test_a_system_that_fails_for_a_while(
    start: StartDeriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, step: str,
) -> None:  # fmt: skip
    """Without a descriptor, space or a working disk: logged once, and tried again after growing
    pauses."""
    where, name = STEPS[step]
    really = getattr(where, name)
    tried: list[float] = []
    failing = True

    def fail(*given: Any, **more: Any) -> Any:
        done = really(*given, **more)  # its transaction is rolled back
        if failing:
            tried.append(time.monotonic())
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return done

    monkeypatch.setattr(where, name, fail)
    daemon = start()
    daemon.put(ARCHIVE)
    until(lambda: len(tried) >= 4)
    assert daemon.deriver.error == f"[Errno {errno.EMFILE}] Too many open files"
    assert not daemon.deriver.is_database_error, "the database is available"
    assert not daemon.deriver.is_alive(tried[0]), "so no keep-alive message is sent in time"
    assert daemon.deriver.is_alive(0)
    assert tried[3] - tried[0] > 0.7, "0.1, 0.2 and 0.5 s"
    failing = False
    daemon.until_done()
    assert mails.exported(daemon.engine) == export_of(tmp_path, ARCHIVE)
    until(lambda: daemon.deriver.is_alive(tried[-1]))
    assert daemon.deriver.error is None
    assert daemon.reasons() == {}
    until(lambda: daemon.outcomes() == {DeriveEvent.DERIVED: len(ARCHIVE)})
    (said,) = [record for record in caplog.records if record.message == "derive-failed"]
    assert said.levelname == "WARNING"


def test_connections_that_are_cut_off(postgres_url: str, tmp_path: Path) -> None:
    daemon = DeriverHarness(postgres_url)
    daemon.deriver.start()
    given = [delivery(raw) for raw in mails.little_archive(20)]
    server = create_engine(daemon.engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    name = daemon.engine.url.database
    with server.connect() as connection:
        with write_transaction(daemon.engine) as own:
            enqueue(own, given, now=NOW)
        daemon.deriver.wake()
        for _ in range(10):
            connection.execute(cut, {"name": name})
            time.sleep(0.03)
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(cut, {"name": name})
        until(lambda: daemon.deriver.error is not None)
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    server.dispose()
    until(lambda: daemon.deriver.error is None)
    daemon.until_done()
    assert mails.exported(daemon.engine) == export_of(tmp_path, given)
    assert daemon.reasons() == {}
    assert daemon.end()
    daemon.engine.dispose()


def test_a_mail_that_no_database_stores_is_found_in_its_batch(postgres_url: str) -> None:
    daemon = DeriverHarness(postgres_url, obeys=True, schedule=Schedule(linger=1))
    daemon.deriver.start()
    one = delivery(bad("nul"))
    daemon.put([*ARCHIVE[:9], one, *ARCHIVE[9:]])
    daemon.until_done()
    ((reason, tries),) = daemon.reasons().values()
    assert reason.startswith("record-failed: DataError: ")
    assert reason.isascii()
    assert reason.isprintable()
    assert tries == 1
    until(
        lambda: daemon.outcomes() == {DeriveEvent.DERIVED: len(ARCHIVE), DeriveEvent.QUARANTINED: 1}
    )
    assert daemon.end()
    daemon.engine.dispose()


def test_a_mail_that_our_own_code_cannot_record(
    start: StartDeriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = recorder.record_mails

    def record(connection: Any, items: Any, *rest: Any, **more: Any) -> None:
        really(connection, items, *rest, **more)
        if any(derived.facts.msgid == "<s1-r@example.com>" for _, derived in items):
            raise KeyError("\ud800")

    monkeypatch.setattr(recorder, "record_mails", record)
    daemon = start()
    daemon.put(ARCHIVE)
    daemon.until_done()
    ((reason, _),) = daemon.reasons().values()
    assert reason == "record-failed: KeyError: '\\\\ud800'"
    until(
        lambda: (
            daemon.outcomes() == {DeriveEvent.DERIVED: len(ARCHIVE) - 1, DeriveEvent.QUARANTINED: 1}
        )
    )


class _DriverError(Exception):
    """An error as a driver of PostgreSQL raises it."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "wanted"),
    [
        ("40001", recorder.DatabaseFailure.CONFLICT),
        ("40P01", recorder.DatabaseFailure.CONFLICT),
        ("22021", recorder.DatabaseFailure.DATA),
        ("23505", recorder.DatabaseFailure.DATA),
        ("54000", recorder.DatabaseFailure.DATA),
        ("57P01", recorder.DatabaseFailure.OUTAGE),
        ("53100", recorder.DatabaseFailure.OUTAGE),
        ("42501", recorder.DatabaseFailure.OUTAGE),
        ("25006", recorder.DatabaseFailure.OUTAGE),
        ("XX000", recorder.DatabaseFailure.OUTAGE),
    ],
)
def test_failures_are_classified(sqlstate: str, wanted: recorder.DatabaseFailure) -> None:
    assert recorder.classify_failure(OperationalError("", {}, _DriverError(sqlstate))) is wanted


def test_a_pool_without_a_free_connection_is_no_fault_of_a_mail() -> None:
    assert recorder.classify_failure(PoolTimeoutError("")) is recorder.DatabaseFailure.OUTAGE


def test_a_conflict_is_tried_again(start: StartDeriver, monkeypatch: pytest.MonkeyPatch) -> None:
    really = recorder.record_mails
    left = 2

    def record(*given: Any, **more: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OperationalError("INSERT", {}, _DriverError("40P01"))
        really(*given, **more)

    monkeypatch.setattr(recorder, "record_mails", record)
    daemon = start()
    daemon.put(ARCHIVE[:1])
    daemon.until_done()
    assert daemon.reasons() == {}


# --- several ----------------------------------------------------------------------------------


def test_two_daemons_on_one_postgresql_agree_with_one_replay(
    postgres_url: str, tmp_path: Path
) -> None:
    daemons = [DeriverHarness(postgres_url, schedule=Schedule(batch=7, poll=0.1)) for _ in range(2)]
    for daemon in daemons:
        daemon.deriver.start()
    given = [delivery(raw) for raw in mails.little_archive(24)]
    random.Random(1).shuffle(given)
    for at in range(0, len(given), 9):
        daemons[at % 2].put(given[at : at + 9])
        daemons[1 - at % 2].deriver.wake()
    daemons[0].until_done()
    until(lambda: sum(len(daemon.results) for daemon in daemons) >= len(given))
    assert all(daemon.end() for daemon in daemons)
    assert mails.exported(daemons[0].engine) == export_of(tmp_path, given)
    assert all(daemon.results for daemon in daemons), "both have derived some"
    together = sum((daemon.outcomes() for daemon in daemons), Counter())
    assert together == {DeriveEvent.DERIVED: len(given)}
    for daemon in daemons:
        daemon.engine.dispose()


def test_daemons_and_replays_of_the_same_mail(postgres_url: str, tmp_path: Path) -> None:
    """The mail of the queue is replayed at the same time, without conflicts."""
    daemon = DeriverHarness(postgres_url, schedule=Schedule(batch=10))
    daemon.deriver.start()
    given = [delivery(raw) for raw in mails.little_archive(16)]
    daemon.put(given)
    for at in range(0, len(given), 20):
        mails.store(daemon.engine, given[at : at + 20])
    daemon.until_done()
    assert daemon.end()
    assert mails.exported(daemon.engine) == export_of(tmp_path, given)
    assert check_store(daemon.engine, Config()).faults == ()
    daemon.engine.dispose()
