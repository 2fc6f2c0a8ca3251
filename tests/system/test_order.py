"""Test that records depend on the mail, not on its arrival: `ingest export` writes the same bytes
for any order, any number of processes, repetitions and kills.

The histories are random (`tests.support.histories`). Each is first stored at once, in one batch in
the order in which it was sent, and then otherwise.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from ingest.config.settings import Config, ConfiguredList
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.reports.export import export_records
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import histories, mails
from tests.support.derive_worker import deliver_in_parallel
from tests.support.histories import Act, play

Item = tuple[Delivery, Derived | Failure]

CONFIGS = (Config(), Config(lists=(ConfiguredList("dev", histories.LISTS[0]),)))

# A store for all examples of a test: each is rolled back. Each run draws other examples, so that
# a few of them a run come to many; `make torture` has many at once.
FEW = settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=300)

little = given(
    histories.histories(2, 6), st.sampled_from(CONFIGS), st.randoms(use_true_random=False)
)
larger = given(histories.histories(4, 20), st.sampled_from(CONFIGS), st.integers(0, 2**32))


def derived(deliveries: Iterable[Delivery], config: Config) -> list[Item]:
    return [(delivery, derive_or_fail(delivery, config)) for delivery in deliveries]


def lines_of(connection: Connection) -> list[str]:
    return list(export_records(connection))


def come_to(engine: Engine, batches: Iterable[Sequence[Item]], config: Config) -> list[str]:
    """Return the export of a store of these batches, and roll it back."""
    with engine.connect() as connection:
        for batch in batches:
            store_mail(connection, batch, config, now=mails.NOW)
        lines = lines_of(connection)
        connection.rollback()
    return lines


def cut(items: Sequence[Item], chance: random.Random) -> Iterator[Sequence[Item]]:
    """Yield batches of random sizes, mostly small ones."""
    at = 0
    while at < len(items):
        size = chance.choice((1, 1, 2, 3, 8))
        yield items[at : at + size]
        at += size


def assert_same(found: list[str], wanted: list[str], how: str) -> None:
    """Fail with the differing lines if two exports differ."""
    if found != wanted:
        ours, theirs = Counter(found), Counter(wanted)
        lost, extra = theirs - ours, ours - theirs
        told = [f"- {line}" for line in lost] + [f"+ {line}" for line in extra]
        pytest.fail(f"{how}: {''.join(told) or 'the order of the lines'}", pytrace=False)


def subjects(items: Iterable[Item]) -> list[str]:
    """Return the subjects in order, for reports."""
    return [
        f"{derived.facts.key} {derived.subject}" if isinstance(derived, Derived) else "failed"
        for _, derived in items
    ]


# --- orders -----------------------------------------------------------------------------------


def check_every_order(
    engine: Engine, acts: list[Act], config: Config, chance: random.Random, *, most: int
) -> None:
    """Check orders of up to four mails of a history, one by one: all of them, or `most`."""
    made = play(acts)
    items = derived(chance.sample(made, min(4, len(made))), config)
    wanted = come_to(engine, [items], config)
    orders = list(itertools.permutations(items))
    if len(orders) > most:
        orders = chance.sample(orders, most)
    for order in orders:
        found = come_to(engine, ([delivery] for delivery in order), config)
        assert_same(found, wanted, f"one by one: {subjects(order)}")


def check_any_order(
    engine: Engine, acts: list[Act], config: Config, seed: int, *, shuffles: int
) -> None:
    """Check shuffles of a larger history, in random batches, some of it twice."""
    items = derived(play(acts), config)
    note(str(subjects(items)))
    wanted = come_to(engine, [items], config)
    for number in range(shuffles):
        chance = random.Random(f"{seed} {number}")
        order = items + chance.choices(items, k=len(items) // 3)
        chance.shuffle(order)
        batches = list(cut(order, chance))
        found = come_to(engine, batches, config)
        assert_same(found, wanted, f"in batches: {[subjects(batch) for batch in batches]}")


@FEW
@little
def test_every_order_of_few_mails(
    engine: Engine, acts: list[Act], config: Config, chance: random.Random
) -> None:
    check_every_order(
        engine, acts, config, chance, most=12 if engine.dialect.name == "sqlite" else 5
    )


@FEW
@larger
def test_any_order_of_many_mails(
    engine: Engine, acts: list[Act], config: Config, seed: int
) -> None:
    check_any_order(engine, acts, config, seed, shuffles=2)


@pytest.mark.torture
@MANY
@little
def test_every_order_of_few_mails_of_many_histories(
    engine: Engine, acts: list[Act], config: Config, chance: random.Random
) -> None:
    check_every_order(engine, acts, config, chance, most=24)


@pytest.mark.torture
@MANY
@larger
def test_any_order_of_many_mails_of_many_histories(
    engine: Engine, acts: list[Act], config: Config, seed: int
) -> None:
    check_any_order(engine, acts, config, seed, shuffles=5)


# --- at the same time -------------------------------------------------------------------------


class Overlap:
    """Two transactions in one PostgreSQL, the second begun while the first is open."""

    def __init__(self, url: str) -> None:
        self.engine = open_store(url, create=True)
        self._tables = text(
            "TRUNCATE mail, pending, list, person, message, copy, body, posting, thread_node,"
            " patch, cover, comment, series, member, trailer, dependency, trace CASCADE"
        )
        self.waited = 0

    def store(self, first: Sequence[Item], second: Sequence[Item], config: Config) -> list[str]:
        """Return the export after both, and empty the store."""
        pid: list[int] = []

        def follow() -> None:
            with write_transaction(self.engine) as connection:
                pid.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
                store_mail(connection, second, config, now=mails.NOW)

        with ThreadPoolExecutor(1) as pool:
            with write_transaction(self.engine) as connection:
                store_mail(connection, first, config, now=mails.NOW)
                following = pool.submit(follow)
                self._until_ended_or_waiting(following, pid)
            following.result()
        with self.engine.connect() as connection:
            lines = lines_of(connection)
            connection.execute(self._tables)
            connection.commit()
        return lines

    def _until_ended_or_waiting(self, following: Future[None], pid: list[int]) -> None:
        waits = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
        with self.engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            while not following.done():
                if pid and connection.execute(waits, {"pid": pid[0]}).scalar():
                    self.waited += 1
                    return
                time.sleep(0.001)


@pytest.fixture
def overlap(postgres_url: str) -> Iterator[Overlap]:
    overlap = Overlap(postgres_url)
    yield overlap
    overlap.engine.dispose()


def check_overlap(overlap: Overlap, acts: list[Act], config: Config, chance: random.Random) -> None:
    """Check that two transactions that do not see each other store what one would."""
    items = derived(play(acts)[:12], config)
    note(str(subjects(items)))
    wanted = overlap.store(items, [], config)
    order = chance.sample(items, len(items))
    share = chance.randint(0, len(order))
    twice = order[:share] + chance.choices(items, k=1) if items else []
    found = overlap.store(twice, order[share:], config)
    how = f"first {subjects(twice)}, meanwhile {subjects(order[share:])}"
    assert_same(found, wanted, how)


@FEW
@little
def test_two_transactions_at_once(
    overlap: Overlap, acts: list[Act], config: Config, chance: random.Random
) -> None:
    check_overlap(overlap, acts, config, chance)


@pytest.mark.torture
@MANY
@little
def test_two_transactions_at_once_with_many_histories(
    overlap: Overlap, acts: list[Act], config: Config, chance: random.Random
) -> None:
    check_overlap(overlap, acts, config, chance)


def shares(
    deliveries: Sequence[Delivery], workers: int, chance: random.Random
) -> list[list[Delivery]]:
    """Return what each worker delivers, shuffled: together everything, much of it repeatedly."""
    dealt: list[list[Delivery]] = [[] for _ in range(workers)]
    for delivery in deliveries:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            chance.choice(dealt).append(delivery)
    for share in dealt:
        chance.shuffle(share)
    return dealt


def check_parallel(
    url: str, workers: int, *, seed: int, count: int, deaths: int, most: int = 6
) -> int:
    """Return how many workers died."""
    engine = open_store(url, create=True)
    config = Config()
    deliveries = histories.history(seed, count, crowd=seed % 2 == 1)
    wanted = come_to(engine, [derived(deliveries, config)], config)
    chance = random.Random(seed)
    died = deliver_in_parallel(
        url, shares(deliveries, workers, chance), seed=seed, deaths=deaths, most=most
    )
    with engine.connect() as connection:
        found = lines_of(connection)
    engine.dispose()
    assert_same(found, wanted, f"history {seed} by {workers} workers, of whom {died} died")
    return died


@pytest.mark.parametrize(("workers", "seed"), [(1, 2), (8, 3)])
def test_parallel_workers_that_are_killed(database_url: str, workers: int, seed: int) -> None:
    died = check_parallel(database_url, workers, seed=seed, count=300, deaths=12)
    assert died >= 6, "too few died to prove anything"


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 130))
@pytest.mark.parametrize("workers", [2, 8])
def test_many_parallel_workers_that_are_killed(database_url: str, workers: int, seed: int) -> None:
    check_parallel(
        database_url, workers, seed=seed, count=600, deaths=60, most=(1, 3, 40)[seed % 3]
    )


# --- the tests' own tests ---------------------------------------------------------------------


def test_a_history_has_what_it_should_have() -> None:
    """The tests above would pass even if the generator had lost half of its kinds."""
    items = derived(histories.history(3, 600), Config())
    assert not [derived for _, derived in items if isinstance(derived, Failure)]
    made = [derived for _, derived in items if isinstance(derived, Derived)]
    keys = Counter(record.facts.msgid for record in made)
    assert {record.facts.kind for record in made} == {"patch", "cover", "pull", "reply", "other"}
    assert {record.facts.version for record in made} >= {1, 2, 3}
    assert sum(count > 1 for count in keys.values()) > 30
    assert any(record.facts.date is None for record in made)
    assert any("message-id.invalid" in record.facts.msgid for record in made)
    assert any(record.facts.change_id for record in made)
    assert {kind.kind for record in made for kind in record.dependencies} == {
        "base-commit", "patch-id", "change-id", "message",
    }  # fmt: skip
    assert len({record.facts.sender for record in made}) > 3
    forms = Counter(
        str(announcement.form.name).lower()
        for record in made
        if record.announcements is not None and record.announcements.entitled
        for announcement in record.announcements.items
    )
    assert set(forms) >= {"applied", "command", "tree"}
