"""The queue: what is accepted waits, is claimed by one at a time, and is never lost or left."""

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
from ingest.store import engine as engine_module
from ingest.store import schema
from ingest.store.engine import (
    REVISIONS,
    StoreError,
    open_store,
    unflushed_transaction,
    write_transaction,
)
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
    """Queue them; whether each was new."""
    with write_transaction(engine) as connection:
        queued = enqueue(connection, deliveries, now=NOW)
    new = {one.sha256: one.is_new for one in queued}
    return [new[one.sha256] for one in deliveries]


def take(engine: Engine, who: str = "a", now: datetime = NOW, **more: Any) -> ClaimResult:
    more = {"limit": 10, "lease": LEASE, **more}
    with unflushed_transaction(engine) as connection:
        return claim(connection, who, now=now, **more)


def taken(engine: Engine, who: str = "a", now: datetime = NOW, **more: Any) -> list[Delivery]:
    return [one.delivery for one in take(engine, who, now, **more).claims]


def rows(engine: Engine) -> list[tuple[int, str | None, str | None]]:
    """Tries, reason and claimant of what is pending, oldest first."""
    pending = schema.pending.c
    query = select(pending.tries, pending.reason, pending.claimed_by).order_by(pending.mail_id)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]


def how_long(engine: Engine) -> QueueLengths:
    with engine.connect() as connection:
        return queue_lengths(connection)


# --- putting in -------------------------------------------------------------------------------


def test_what_is_queued_is_kept_and_waits_and_nothing_else(engine: Engine) -> None:
    assert put(engine, *MAILS[:3], MAILS[0]) == [True, True, True, True]
    counts = mails.row_counts(engine)
    assert {name: count for name, count in counts.items() if count} == {"mail": 3, "pending": 3}
    assert how_long(engine) == QueueLengths(3, 0)


def test_what_is_known_is_queued_once(engine: Engine) -> None:
    put(engine, MAILS[0])
    assert put(engine, MAILS[0], MAILS[1]) == [False, True]
    assert rows(engine) == [(0, None, None)] * 2


def test_what_is_derived_does_not_wait_again_unless_it_has_changed(engine: Engine) -> None:
    mails.store(engine, MAILS[:1])
    assert put(engine, MAILS[0]) == [False]
    assert rows(engine) == []
    assert put(engine, delivery(MAILS[0].raw, route=("b.example.org",))) == [False]
    assert rows(engine) == [(0, None, None)]
    (again,) = taken(engine)
    assert again.route == ("b.example.org",)


def test_what_was_accepted_and_nowhere_queued_is_queued(engine: Engine) -> None:
    put(engine, MAILS[0])
    with write_transaction(engine) as connection:
        connection.execute(schema.pending.delete())
    assert put(engine, MAILS[0]) == [False]
    assert taken(engine) == [MAILS[0]]


def test_what_is_set_aside_stays_so_unless_it_has_changed(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine).claims
    with write_transaction(engine) as connection:
        move_to_quarantine(connection, {one.mail_id: ("parse-failed: x", 3)})
    assert how_long(engine) == QueueLengths(0, 1)
    put(engine, MAILS[0])
    assert rows(engine) == [(3, "parse-failed: x", None)]
    put(engine, delivery(MAILS[0].raw, route=("b.example.org",)))
    assert rows(engine) == [(0, None, None)]


def test_a_change_leaves_a_claim_as_it_is(engine: Engine) -> None:
    put(engine, MAILS[0])
    take(engine, "a")
    put(engine, delivery(MAILS[0].raw, withdrawn=True))
    assert rows(engine) == [(0, None, "a")]


# --- claiming ---------------------------------------------------------------------------------


def test_the_oldest_come_first_and_once(engine: Engine) -> None:
    for one in MAILS:
        put(engine, one)
    assert taken(engine, "a", limit=2) == MAILS[:2]
    assert taken(engine, "b", limit=2) == MAILS[2:4]
    assert taken(engine, "a", limit=2) == MAILS[4:]
    assert taken(engine, "b") == []


def test_a_first_claim_counts_nothing(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine).claims
    assert (one.tries, one.suspect, one.accepted) == (1, False, NOW)
    assert rows(engine) == [(0, None, "a")]


def test_no_more_octets_than_asked_for_but_one_mail(engine: Engine) -> None:
    for one in MAILS:
        put(engine, one)
    size = len(MAILS[0].raw)
    assert taken(engine, max_bytes=2 * size) == MAILS[:2]
    assert taken(engine, max_bytes=1) == MAILS[2:3]


def test_what_is_in_hand_is_not_claimed_over_again(engine: Engine) -> None:
    for one in MAILS[:2]:
        put(engine, one)
    first = take(engine, limit=1).claims[0]
    assert taken(engine, now=LATER, exclude=[first.mail_id]) == MAILS[1:2]


def test_a_claim_that_is_not_heard_of_is_taken_over_as_it_was(engine: Engine) -> None:
    for one in MAILS[:3]:
        put(engine, one)
    take(engine, "dead")
    assert taken(engine, "b", LATER - timedelta(seconds=1)) == []
    put(engine, MAILS[3])
    assert taken(engine, "b", LATER, suspects=False) == MAILS[3:4]
    found = take(engine, "b", LATER).claims
    assert [(one.delivery, one.tries, one.suspect) for one in found] == [
        (one, 1, True) for one in MAILS[:3]
    ]
    assert [tries for tries, _, _ in rows(engine)] == [0, 0, 0, 0]
    with write_transaction(engine) as connection:
        release_claims(connection, "b", found, failed=False)
    assert rows(engine)[:3] == [(0, None, None)] * 3, "they are their claimant's"


def test_a_claim_of_suspects_that_is_not_heard_of_either_is_halved(engine: Engine) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(8)]
    for one in given:
        put(engine, one)
    now = NOW
    take(engine, "a", now)
    for who, most in (("b", 8), ("c", 4)):
        now += LEASE
        found = take(engine, who, now).claims
        assert [one.delivery for one in found] == given[:most]
        now += LEASE
        with write_transaction(engine) as connection:
            renew_leases(connection, who, [one.mail_id for one in found], until=now)
    # Now b has left four, and c four; of either a half is next, then one of the two, which counts.
    sizes = []
    while found := take(engine, "d", now).claims:
        sizes.append(len(found))
        assert {one.tries for one in found} == {1}
        with write_transaction(engine) as connection:
            connection.execute(
                schema.pending.delete().where(
                    schema.pending.c.mail_id.in_([one.mail_id for one in found])
                )
            )
    assert sizes == [2, 2, 1, 1, 1, 1]
    assert how_long(engine) == QueueLengths(0, 0)


def test_what_a_killed_daemon_left_comes_back_in_few_claims(engine: Engine) -> None:
    put(engine, *(delivery(mails.patch(f"q{number}@example.org")) for number in range(240)))
    for _ in range(3):
        take(engine, "dead", limit=100)
    sizes = []
    while found := take(engine, "b", LATER, limit=100).claims:
        sizes.append(len(found))
        with write_transaction(engine) as connection:
            connection.execute(
                schema.pending.delete().where(
                    schema.pending.c.mail_id.in_([one.mail_id for one in found])
                )
            )
    assert sizes == [100, 100, 40]


def test_suspects_together_are_no_more_octets_than_asked_for(engine: Engine) -> None:
    for one in MAILS[:3]:
        put(engine, one)
    take(engine, "dead")
    size = len(MAILS[0].raw)
    assert taken(engine, "b", LATER, max_bytes=2 * size) == MAILS[:2]
    (alone,) = take(engine, "b", LATER, max_bytes=1).claims
    assert (alone.delivery, alone.tries) == (MAILS[2], 1)
    assert rows(engine)[2] == (1, None, "b"), "so it is counted"


@pytest.mark.parametrize("culprit", [0, 17, 99])
@pytest.mark.parametrize("more", [False, True], ids=["alone", "mail comes in meanwhile"])
def test_what_ends_every_daemon_is_found_among_many_in_few_deaths(
    engine: Engine, culprit: int, more: bool
) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(100)]
    for one in given:
        put(engine, one)
    now, deaths, aside = NOW, 0, []
    while how_long(engine).waiting:
        claimed = take(engine, str(deaths), now, limit=100)
        aside += claimed.quarantined
        if any(one.delivery == given[culprit] for one in claimed.claims):
            deaths += 1
            now += LEASE
            if more:
                put(engine, delivery(mails.patch(f"m{deaths}@example.org")))
            continue
        ids = [one.mail_id for one in claimed.claims]
        with write_transaction(engine) as connection:
            connection.execute(schema.pending.delete().where(schema.pending.c.mail_id.in_(ids)))
    assert [(one.sha256, one.reason, one.tries) for one in aside] == [
        (given[culprit].sha256, DAEMON_DIED, TRIES)
    ]
    assert deaths <= 1 + 7 + TRIES, "the first, 100 halved, and what is counted"


def test_what_takes_everybody_down_is_set_aside_after_so_many_tries(engine: Engine) -> None:
    for one in MAILS[:2]:
        put(engine, one)
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
    (aside,) = claimed.quarantined
    assert (aside.reason, aside.tries, aside.sha256) == (DAEMON_DIED, TRIES, MAILS[0].sha256)
    assert taken(engine, now=now) == MAILS[1:2]
    assert how_long(engine) == QueueLengths(1, 1)


def test_suspects_with_fewer_tries_come_first(engine: Engine) -> None:
    for one in MAILS[:2]:
        put(engine, one)
    first, second = take(engine).claims
    with write_transaction(engine) as connection:
        release_claims(connection, "a", [first, second], failed=True)
    (again,) = take(engine).claims
    assert (again.delivery, again.tries) == (MAILS[0], 2)
    with write_transaction(engine) as connection:
        release_claims(connection, "a", [again], failed=True)
    assert taken(engine) == MAILS[1:2]


@pytest.mark.parametrize(("counted", "tries"), [(True, 1), (False, 0)])
def test_giving_back(engine: Engine, counted: bool, tries: int) -> None:
    put(engine, MAILS[0])
    claims = take(engine).claims
    with write_transaction(engine) as connection:
        release_claims(connection, "other", claims, failed=True)
    assert rows(engine) == [(0, None, "a")], "it was not theirs to give back"
    with write_transaction(engine) as connection:
        release_claims(connection, "a", claims, failed=counted)
    assert rows(engine) == [(tries, None, None)]
    (again,) = take(engine, "b").claims
    assert (again.tries, again.suspect) == (tries + 1, counted)


def test_a_lease_is_renewed_by_its_holder_alone(engine: Engine) -> None:
    put(engine, MAILS[0])
    (one,) = take(engine, "a").claims
    for who in ("b", "a"):
        with write_transaction(engine) as connection:
            renew_leases(connection, who, [one.mail_id], until=LATER + LEASE)
        assert (taken(engine, "c", LATER) == []) == (who == "a")
        with write_transaction(engine) as connection:
            connection.execute(update(schema.pending).values(claimed_by="a", claimed_until=LATER))


def test_a_store_of_ones_own_is_free_at_once(engine: Engine) -> None:
    put(engine, MAILS[0])
    take(engine, "dead")
    with write_transaction(engine) as connection:
        end_all_claims(connection, now=NOW)
    assert taken(engine, "b") == MAILS[:1]


def test_what_cannot_be_read_is_set_aside_and_holds_nothing_up(engine: Engine) -> None:
    for one in MAILS[:3]:
        put(engine, one)
    with write_transaction(engine) as connection:
        of = schema.mail.c.sha256
        spoil = update(schema.mail)
        connection.execute(spoil.where(of == MAILS[0].sha256).values(codec=1, raw=b"x"))
        connection.execute(spoil.where(of == MAILS[1].sha256).values(container_errors="what"))
    claimed = take(engine)
    assert [one.delivery for one in claimed.claims] == MAILS[2:3]
    assert {one.sha256 for one in claimed.quarantined} == {one.sha256 for one in MAILS[:2]}
    assert [reason for _, reason, _ in rows(engine)] == [DAMAGED, DAMAGED, None]


def test_many_who_claim_at_once_share_the_work(engine: Engine) -> None:
    given = [delivery(mails.patch(f"q{number}@example.org")) for number in range(120)]
    put(engine, *given)
    barrier = threading.Barrier(4)

    def claimant(name: str) -> list[bytes]:
        barrier.wait()
        mine: list[bytes] = []
        while some := taken(engine, name, limit=5):
            mine += [one.sha256 for one in some]
        return mine

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(claimant, "abcd"))
    found = [one for share in shares for one in share]
    assert sorted(found) == sorted(one.sha256 for one in given)


def test_claimants_do_not_wait_for_each_other(postgres_url: str) -> None:
    engine = open_store(postgres_url, create=True)
    for one in MAILS[:4]:
        put(engine, one)
    with engine.begin() as first, engine.begin() as second:
        second.execute(text("SET lock_timeout = 1"))
        mine = claim(first, "a", now=NOW, lease=LEASE, limit=2)
        theirs = claim(second, "b", now=NOW, lease=LEASE, limit=2)
        renew_leases(second, "b", [one.mail_id for one in mine.claims], until=LATER)
        release_claims(second, "a", mine.claims, failed=True)
    assert [one.delivery for one in (*mine.claims, *theirs.claims)] == MAILS[:4]
    engine.dispose()


# --- recording --------------------------------------------------------------------------------


def held(engine: Engine, claims: tuple[Claim, ...]) -> tuple[set[bytes], list[Delivery]]:
    by_id = {one.mail_id: one.delivery.sha256 for one in claims}
    with write_transaction(engine) as connection:
        found = lock_claims(connection, claims)
    return {by_id[one] for one in found.unchanged}, [one.delivery for one in found.changed]


def test_what_changed_and_what_has_gone_while_it_was_in_hand(engine: Engine) -> None:
    put(engine, *MAILS[:3])
    claims = take(engine).claims
    assert held(engine, claims) == ({one.sha256 for one in MAILS[:3]}, [])
    changed = delivery(MAILS[1].raw, route=("b.example.org",))
    put(engine, changed)
    mails.store(engine, MAILS[:1])
    assert held(engine, claims) == ({MAILS[2].sha256}, [changed])


def test_a_mail_that_is_held_cannot_change(postgres_url: str) -> None:
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
    assert rows(engine) == [(0, None, None)], "it is to be derived anew"
    engine.dispose()


# --- the quarantine and the rest of the store -------------------------------------------------


def test_the_quarantine_is_listed_oldest_first(engine: Engine) -> None:
    for one in MAILS[:3]:
        put(engine, one)
    ids = [one.mail_id for one in take(engine).claims]
    with write_transaction(engine) as connection:
        move_to_quarantine(
            connection, {ids[2]: ("record-failed: y", 1), ids[0]: ("parse-failed: x", 3)}
        )
        move_to_quarantine(connection, {})
    with engine.connect() as connection:
        found = list_quarantine(connection)
        assert [one.mail_id for one in list_quarantine(connection, [ids[2], ids[1]])] == [ids[2]]
    assert [(one.mail_id, one.reason, one.tries) for one in found] == [
        (ids[0], "parse-failed: x", 3),
        (ids[2], "record-failed: y", 1),
    ]
    one = found[0]
    assert (one.sha256, one.size) == (MAILS[0].sha256, len(MAILS[0].raw))
    assert (one.source, one.accepted) == ("test", NOW)


def test_what_is_claimed_or_to_be_derived_anew_waits_and_is_no_fault(engine: Engine) -> None:
    mails.store(engine, MAILS[:1])
    put(engine, delivery(MAILS[0].raw, route=("b.example.org",)), MAILS[1])
    take(engine)
    health = check_store(engine, Config())
    assert (health.faults, health.notes) == ((), ("2 mails wait to be derived",))


def test_a_commit_that_need_not_be_flushed_is_a_commit(engine: Engine) -> None:
    setting = {"sqlite": ("PRAGMA synchronous", 1, 2),
               "postgresql": ("SHOW synchronous_commit", "off", "on")}  # fmt: skip
    question, inside, outside = setting[engine.dialect.name]
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # the tests' server has it off for all
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
    """As in a version with one migration more, which rewrites the table in SQLite."""
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
    monkeypatch.setattr(engine_module, "REVISIONS", (*REVISIONS, "9001"))
    with pytest.raises(StoreError, match=f"older schema {REVISIONS[-1]}"):
        open_store(database_url)
    engine = open_store(database_url, migrate=True)
    assert "note" in [column["name"] for column in inspect(engine).get_columns("pending")]
    assert taken(engine) == MAILS[:1]
    engine.dispose()
    open_store(database_url).dispose()
