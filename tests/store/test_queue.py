"""Test that accepted mail waits, is claimed by one daemon at a time, and is never lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import alembic.config
import pytest
from alembic.config import Config as AlembicConfig
from sqlalchemy import Engine, inspect, select, text, update

from ingest.config.settings import Config
from ingest.model import Delivery
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database import schema_version
from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from ingest.store.database.schema_version import REVISIONS
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.inbox.quarantine import (
    QueueLengths,
    list_quarantine,
    move_to_quarantine,
    queue_lengths,
)
from ingest.store.inbox.queue import (
    DAEMON_DIED,
    DAMAGED,
    TRIES,
    Claim,
    ClaimResult,
    claim,
    end_all_claims,
    enqueue,
    lock_claims,
    release_claims,
    renew_leases,
)
from tests.support import mails
from tests.support.mails import NOW, delivery

LEASE = timedelta(seconds=30)
LATER = NOW + LEASE
MAILS = [delivery(mails.patch(f"p{number}@example.org")) for number in range(5)]


def put(engine: Engine, *deliveries: Delivery) -> list[bool]:
    """Queue deliveries. Return for each whether it was new."""
    with write_transaction(engine) as connection:
        queued = enqueue(connection, deliveries, now=NOW)
    new = {entry.sha256: entry.is_new for entry in queued}
    return [new[delivery.sha256] for delivery in deliveries]


def take(engine: Engine, who: str = "a", now: datetime = NOW, **more: Any) -> ClaimResult:
    more = {"limit": 10, "lease": LEASE, **more}
    with unflushed_transaction(engine) as connection:
        return claim(connection, who, now=now, **more)


def taken(engine: Engine, who: str = "a", now: datetime = NOW, **more: Any) -> list[Delivery]:
    return [claim.delivery for claim in take(engine, who, now, **more).claims]


def rows(engine: Engine) -> list[tuple[int, str | None, str | None]]:
    """Return tries, reason and claimant of each pending mail, oldest first."""
    pending = schema.pending.c
    query = select(pending.tries, pending.reason, pending.claimed_by).order_by(pending.mail_id)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]


def lengths(engine: Engine) -> QueueLengths:
    with engine.connect() as connection:
        return queue_lengths(connection)


# --- queueing ---------------------------------------------------------------------------------


def test_a_queued_mail_is_stored_and_waits(engine: Engine) -> None:
    assert put(engine, *MAILS[:3], MAILS[0]) == [True, True, True, True]
    counts = mails.row_counts(engine)
    assert {name: count for name, count in counts.items() if count} == {"mail": 3, "pending": 3}
    assert lengths(engine) == QueueLengths(3, 0)


def test_a_known_mail_is_queued_once(engine: Engine) -> None:
    put(engine, MAILS[0])
    assert put(engine, MAILS[0], MAILS[1]) == [False, True]
    assert rows(engine) == [(0, None, None)] * 2


def test_a_derived_mail_is_queued_again_only_if_changed(engine: Engine) -> None:
    mails.store(engine, MAILS[:1])
    assert put(engine, MAILS[0]) == [False]
    assert rows(engine) == []
    assert put(engine, delivery(MAILS[0].raw, route=("b.example.org",))) == [False]
    assert rows(engine) == [(0, None, None)]
    (again,) = taken(engine)
    assert again.route == ("b.example.org",)


def test_an_accepted_mail_missing_in_the_queue_is_queued(engine: Engine) -> None:
    put(engine, MAILS[0])
    with write_transaction(engine) as connection:
        connection.execute(schema.pending.delete())
    assert put(engine, MAILS[0]) == [False]
    assert taken(engine) == [MAILS[0]]


def test_a_quarantined_mail_is_queued_again_only_if_changed(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine).claims
    with write_transaction(engine) as connection:
        move_to_quarantine(connection, {one.mail_id: ("parse-failed: x", 3)})
    assert lengths(engine) == QueueLengths(0, 1)
    put(engine, MAILS[0])
    assert rows(engine) == [(3, "parse-failed: x", None)]
    put(engine, delivery(MAILS[0].raw, route=("b.example.org",)))
    assert rows(engine) == [(0, None, None)]


def test_a_change_does_not_affect_a_claim(engine: Engine) -> None:
    put(engine, MAILS[0])
    take(engine, "a")
    put(engine, delivery(MAILS[0].raw, withdrawn=True))
    assert rows(engine) == [(0, None, "a")]


# --- claiming ---------------------------------------------------------------------------------


def test_the_oldest_mail_is_claimed_first_and_once(engine: Engine) -> None:
    for mail in MAILS:
        put(engine, mail)
    assert taken(engine, "a", limit=2) == MAILS[:2]
    assert taken(engine, "b", limit=2) == MAILS[2:4]
    assert taken(engine, "a", limit=2) == MAILS[4:]
    assert taken(engine, "b") == []


def test_a_first_claim_counts_no_try(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine).claims
    assert (one.tries, one.suspect, one.accepted) == (1, False, NOW)
    assert rows(engine) == [(0, None, "a")]


def test_a_claim_has_at_most_max_bytes_or_one_mail(engine: Engine) -> None:
    for mail in MAILS:
        put(engine, mail)
    size = len(MAILS[0].raw)
    assert taken(engine, max_bytes=2 * size) == MAILS[:2]
    assert taken(engine, max_bytes=1) == MAILS[2:3]


def test_a_claimed_mail_is_not_claimed_again(engine: Engine) -> None:
    for mail in MAILS[:2]:
        put(engine, mail)
    first = take(engine, limit=1).claims[0]
    assert taken(engine, now=LATER, exclude=[first.mail_id]) == MAILS[1:2]


def test_an_expired_claim_is_taken_over_as_a_whole(engine: Engine) -> None:
    for mail in MAILS[:3]:
        put(engine, mail)
    take(engine, "dead")
    assert taken(engine, "b", LATER - timedelta(seconds=1)) == []
    put(engine, MAILS[3])
    assert taken(engine, "b", LATER, suspects=False) == MAILS[3:4]
    found = take(engine, "b", LATER).claims
    assert [(claim.delivery, claim.tries, claim.suspect) for claim in found] == [
        (mail, 1, True) for mail in MAILS[:3]
    ]
    assert [tries for tries, _, _ in rows(engine)] == [0, 0, 0, 0]
    with write_transaction(engine) as connection:
        release_claims(connection, "b", found, failed=False)
    assert rows(engine)[:3] == [(0, None, None)] * 3, "they belong to their claimant"


def test_an_expired_claim_of_suspects_is_halved(engine: Engine) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(8)]
    for mail in given:
        put(engine, mail)
    now = NOW
    take(engine, "a", now)
    for who, most in (("b", 8), ("c", 4)):
        now += LEASE
        found = take(engine, who, now).claims
        assert [claim.delivery for claim in found] == given[:most]
        now += LEASE
        with write_transaction(engine) as connection:
            renew_leases(connection, who, [claim.mail_id for claim in found], until=now)
    # b and c have left four suspects each. Half of either is claimed next, then single ones.
    sizes = []
    while found := take(engine, "d", now).claims:
        sizes.append(len(found))
        assert {claim.tries for claim in found} == {1}
        with write_transaction(engine) as connection:
            connection.execute(
                schema.pending.delete().where(
                    schema.pending.c.mail_id.in_([claim.mail_id for claim in found])
                )
            )
    assert sizes == [2, 2, 1, 1, 1, 1]
    assert lengths(engine) == QueueLengths(0, 0)


def test_the_claims_of_a_killed_daemon_are_repeated_in_few_claims(engine: Engine) -> None:
    put(engine, *(delivery(mails.patch(f"q{number}@example.org")) for number in range(240)))
    for _ in range(3):
        take(engine, "dead", limit=100)
    sizes = []
    while found := take(engine, "b", LATER, limit=100).claims:
        sizes.append(len(found))
        with write_transaction(engine) as connection:
            connection.execute(
                schema.pending.delete().where(
                    schema.pending.c.mail_id.in_([claim.mail_id for claim in found])
                )
            )
    assert sizes == [100, 100, 40]


def test_a_claim_of_suspects_has_at_most_max_bytes(engine: Engine) -> None:
    for mail in MAILS[:3]:
        put(engine, mail)
    take(engine, "dead")
    size = len(MAILS[0].raw)
    assert taken(engine, "b", LATER, max_bytes=2 * size) == MAILS[:2]
    (alone,) = take(engine, "b", LATER, max_bytes=1).claims
    assert (alone.delivery, alone.tries) == (MAILS[2], 1)
    assert rows(engine)[2] == (1, None, "b"), "the try counts"


@pytest.mark.parametrize("culprit", [0, 17, 99])
@pytest.mark.parametrize("more", [False, True], ids=["alone", "more mail arrives"])
def test_a_mail_that_ends_every_daemon_is_found_in_few_deaths(
    engine: Engine, culprit: int, more: bool
) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(100)]
    for mail in given:
        put(engine, mail)
    now, deaths, entries = NOW, 0, []
    while lengths(engine).waiting:
        claimed = take(engine, str(deaths), now, limit=100)
        entries += claimed.quarantined
        if any(claim.delivery == given[culprit] for claim in claimed.claims):
            deaths += 1
            now += LEASE
            if more:
                put(engine, delivery(mails.patch(f"m{deaths}@example.org")))
            continue
        ids = [claim.mail_id for claim in claimed.claims]
        with write_transaction(engine) as connection:
            connection.execute(schema.pending.delete().where(schema.pending.c.mail_id.in_(ids)))
    assert [(entry.sha256, entry.reason, entry.tries) for entry in entries] == [
        (given[culprit].sha256, DAEMON_DIED, TRIES)
    ]
    assert deaths <= 1 + 7 + TRIES, (
        "the first death, those of halving 100 mails, and the counted tries"
    )


def test_a_mail_that_ends_every_daemon_is_quarantined_after_its_tries(engine: Engine) -> None:
    for mail in MAILS[:2]:
        put(engine, mail)
    now = NOW
    deaths = 0
    take(engine, now=now, limit=1)
    while True:
        now += LEASE
        claimed = take(engine, now=now, limit=0)
        if claimed.quarantined:
            break
        deaths += 1
    assert deaths == TRIES
    (entry,) = claimed.quarantined
    assert (entry.reason, entry.tries, entry.sha256) == (DAEMON_DIED, TRIES, MAILS[0].sha256)
    assert taken(engine, now=now) == MAILS[1:2]
    assert lengths(engine) == QueueLengths(1, 1)


def test_suspects_with_fewer_tries_are_claimed_first(engine: Engine) -> None:
    for mail in MAILS[:2]:
        put(engine, mail)
    first, second = take(engine).claims
    with write_transaction(engine) as connection:
        release_claims(connection, "a", [first, second], failed=True)
    (again,) = take(engine).claims
    assert (again.delivery, again.tries) == (MAILS[0], 2)
    with write_transaction(engine) as connection:
        release_claims(connection, "a", [again], failed=True)
    assert taken(engine) == MAILS[1:2]


@pytest.mark.parametrize(("counted", "tries"), [(True, 1), (False, 0)])
def test_claims_are_released(engine: Engine, counted: bool, tries: int) -> None:
    put(engine, MAILS[0])
    claims = take(engine).claims
    with write_transaction(engine) as connection:
        release_claims(connection, "other", claims, failed=True)
    assert rows(engine) == [(0, None, "a")], "only the claimant can release a claim"
    with write_transaction(engine) as connection:
        release_claims(connection, "a", claims, failed=counted)
    assert rows(engine) == [(tries, None, None)]
    (again,) = take(engine, "b").claims
    assert (again.tries, again.suspect) == (tries + 1, counted)


def test_only_the_claimant_renews_a_lease(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine, "a").claims
    for who in ("b", "a"):
        with write_transaction(engine) as connection:
            renew_leases(connection, who, [one.mail_id], until=LATER + LEASE)
        assert (taken(engine, "c", LATER) == []) == (who == "a")
        with write_transaction(engine) as connection:
            connection.execute(update(schema.pending).values(claimed_by="a", claimed_until=LATER))


def test_claims_of_earlier_processes_of_one_daemon_are_ended_at_once(engine: Engine) -> None:
    put(engine, *MAILS[:2])
    take(engine, "one%/4", limit=1)
    take(engine, "one_/5", limit=1)
    with write_transaction(engine) as connection:
        end_all_claims(connection, now=NOW, prefix="one_/")
    assert taken(engine, "other") == MAILS[1:2]


def test_claims_of_an_earlier_process_are_ended_at_once(engine: Engine) -> None:
    put(engine, MAILS[0])
    take(engine, "dead")
    with write_transaction(engine) as connection:
        end_all_claims(connection, now=NOW)
    assert taken(engine, "b") == MAILS[:1]


def test_an_unreadable_mail_is_quarantined_and_delays_nothing(engine: Engine) -> None:
    for mail in MAILS[:3]:
        put(engine, mail)
    with write_transaction(engine) as connection:
        of = schema.mail.c.sha256
        spoil = update(schema.mail)
        connection.execute(spoil.where(of == MAILS[0].sha256).values(codec=1, raw=b"x"))
        connection.execute(spoil.where(of == MAILS[1].sha256).values(container_errors="what"))
    claimed = take(engine)
    assert [claim.delivery for claim in claimed.claims] == MAILS[2:3]
    assert {entry.sha256 for entry in claimed.quarantined} == {mail.sha256 for mail in MAILS[:2]}
    assert [reason for _, reason, _ in rows(engine)] == [DAMAGED, DAMAGED, None]


def test_simultaneous_claimants_share_the_mail(engine: Engine) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(120)]
    put(engine, *given)
    barrier = threading.Barrier(4)

    def claimant(name: str) -> list[bytes]:
        barrier.wait()
        mine: list[bytes] = []
        while some := taken(engine, name, limit=5):
            mine += [delivery.sha256 for delivery in some]
        return mine

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(claimant, "abcd"))
    found = [sha256 for share in shares for sha256 in share]
    assert sorted(found) == sorted(mail.sha256 for mail in given)


def test_claimants_do_not_wait_for_each_other(postgres_url: str) -> None:
    engine = open_store(postgres_url, create=True)
    for mail in MAILS[:4]:
        put(engine, mail)
    with engine.begin() as first, engine.begin() as second:
        second.execute(text("SET lock_timeout = 1"))
        mine = claim(first, "a", now=NOW, lease=LEASE, limit=2)
        theirs = claim(second, "b", now=NOW, lease=LEASE, limit=2)
        renew_leases(second, "b", [claim.mail_id for claim in mine.claims], until=LATER)
        release_claims(second, "a", mine.claims, failed=True)
    assert [claim.delivery for claim in (*mine.claims, *theirs.claims)] == MAILS[:4]
    engine.dispose()


# --- recording --------------------------------------------------------------------------------


def lock_and_compare(
    engine: Engine, claims: tuple[Claim, ...]
) -> tuple[set[bytes], list[Delivery]]:
    by_id = {claim.mail_id: claim.delivery.sha256 for claim in claims}
    with write_transaction(engine) as connection:
        found = lock_claims(connection, claims)
    return {by_id[mail_id] for mail_id in found.unchanged}, [
        claim.delivery for claim in found.changed
    ]


def test_claimed_mail_that_has_changed_or_gone_is_found(engine: Engine) -> None:
    put(engine, *MAILS[:3])
    claims = take(engine).claims
    assert lock_and_compare(engine, claims) == ({mail.sha256 for mail in MAILS[:3]}, [])
    changed = delivery(MAILS[1].raw, route=("b.example.org",))
    put(engine, changed)
    mails.store(engine, MAILS[:1])
    assert lock_and_compare(engine, claims) == ({MAILS[2].sha256}, [changed])


def test_a_locked_mail_cannot_change(postgres_url: str) -> None:
    engine = open_store(postgres_url, create=True)
    put(engine, MAILS[0])
    claims = take(engine).claims
    with write_transaction(engine) as connection, ThreadPoolExecutor(1) as pool:
        lock_claims(connection, claims)
        change = pool.submit(put, engine, delivery(MAILS[0].raw, route=("b.example.org",)))
        with pytest.raises(TimeoutError):
            change.result(0.3)
        connection.execute(schema.pending.delete())
        connection.commit()
        change.result(60)
    assert rows(engine) == [(0, None, None)], "it is derived again"
    engine.dispose()


# --- the quarantine and the rest of the store -------------------------------------------------


def test_the_quarantine_is_listed_oldest_first(engine: Engine) -> None:
    for mail in MAILS[:3]:
        put(engine, mail)
    ids = [claim.mail_id for claim in take(engine).claims]
    with write_transaction(engine) as connection:
        move_to_quarantine(
            connection, {ids[2]: ("record-failed: y", 1), ids[0]: ("parse-failed: x", 3)}
        )
        move_to_quarantine(connection, {})
    with engine.connect() as connection:
        found = list_quarantine(connection)
        assert [entry.mail_id for entry in list_quarantine(connection, [ids[2], ids[1]])] == [
            ids[2]
        ]
    assert [(entry.mail_id, entry.reason, entry.tries) for entry in found] == [
        (ids[0], "parse-failed: x", 3),
        (ids[2], "record-failed: y", 1),
    ]
    one = found[0]
    assert (one.sha256, one.size) == (MAILS[0].sha256, len(MAILS[0].raw))
    assert (one.source, one.accepted) == ("test", NOW)


def test_claimed_and_requeued_mail_is_no_fault(engine: Engine) -> None:
    mails.store(engine, MAILS[:1])
    put(engine, delivery(MAILS[0].raw, route=("b.example.org",)), MAILS[1])
    take(engine)
    health = check_store(engine, Config())
    assert (health.faults, health.notes) == ((), ("2 mails wait to be derived",))


def test_an_unflushed_commit_is_a_commit(engine: Engine) -> None:
    setting = {"sqlite": ("PRAGMA synchronous", 1, 2),
               "postgresql": ("SHOW synchronous_commit", "off", "on")}  # fmt: skip
    question, inside, outside = setting[engine.dialect.name]
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # off for the whole server of the tests
            connection.execute(
                text(f'ALTER DATABASE "{engine.url.database}" SET synchronous_commit = on')
            )
            connection.commit()
    engine.dispose()

    def now() -> object:
        with engine.connect() as connection:
            return connection.exec_driver_sql(question).scalar()

    assert now() == outside
    with unflushed_transaction(engine) as connection:
        assert connection.exec_driver_sql(question).scalar() == inside
        enqueue(connection, MAILS[:1], now=NOW)
    assert now() == outside

    def cut_off() -> None:
        with unflushed_transaction(engine) as connection:
            enqueue(connection, MAILS[1:2], now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_off()
    assert now() == outside
    assert mails.row_counts(engine)["mail"] == 1


LATER_MIGRATION = """
import sqlalchemy
from alembic import op
revision, down_revision = "9001", {down!r}
def upgrade():
    with op.batch_alter_table("pending") as pending:
        pending.add_column(sqlalchemy.Column("note", sqlalchemy.Text))
"""


def test_a_store_of_an_older_schema_keeps_its_queue(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version has one more migration, which rewrites the table in SQLite."""
    engine = open_store(database_url, create=True)
    put(engine, MAILS[0])
    engine.dispose()
    (tmp_path / "v9001_later.py").write_text(LATER_MIGRATION.format(down=REVISIONS[-1]))

    class LaterConfig(AlembicConfig):
        def __init__(self) -> None:
            super().__init__()
            self.set_main_option("path_separator", "space")
            self.set_main_option(
                "version_locations", f"ingest.store:migrations/versions {tmp_path}"
            )

    monkeypatch.setattr(alembic.config, "Config", LaterConfig)
    monkeypatch.setattr(schema_version, "REVISIONS", (*REVISIONS, "9001"))
    with pytest.raises(StoreError, match=f"older schema {REVISIONS[-1]}"):
        open_store(database_url)
    engine = open_store(database_url, migrate=True)
    assert "note" in [column["name"] for column in inspect(engine).get_columns("pending")]
    assert taken(engine) == MAILS[:1]
    engine.dispose()
    open_store(database_url).dispose()
