"""Test that threads are connected sets of ids, in whatever order the links arrive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from ingest.series.facts import digest63
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.write.threads import DisjointSets, link_threads
from tests.support import mails

IDS = st.sampled_from([f"<{letter}@example.org>" for letter in "abcdefghijkl"])
GROUPS = st.lists(st.lists(IDS, min_size=1, max_size=4), max_size=12)


def _partition(thread_of: dict[str, int]) -> set[frozenset[str]]:
    sets: dict[int, set[str]] = defaultdict(set)
    for msgid, thread in thread_of.items():
        sets[thread].add(msgid)
    return {frozenset(members) for members in sets.values()}


def _connected(groups: Iterable[Sequence[str]]) -> set[frozenset[str]]:
    """Merge sets that share an id until none do: slow, and simple."""
    sets: list[set[str]] = []
    for group in groups:
        touched = [members for members in sets if members & set(group)]
        sets = [members for members in sets if members not in touched]
        sets.append(set(group).union(*touched))
    return {frozenset(members) for members in sets}


def _stored(engine: Engine) -> dict[int, int]:
    with engine.connect() as connection:
        rows = connection.execute(select(schema.thread_node)).all()
    return {row.node: row.thread_id for row in rows}


def test_a_set_is_named_by_its_least_member() -> None:
    sets = DisjointSets()
    sets.join(5, 9)
    sets.join(9, 3)
    sets.join(7, 8)
    assert [sets.root(number) for number in (3, 5, 9, 7, 8, 1)] == [3, 3, 3, 7, 7, 1]


def test_a_long_chain_is_walked_without_recursion() -> None:
    sets = DisjointSets()
    for number in range(50_000, 0, -1):
        sets.join(number, number - 1)
    assert sets.root(50_000) == 0


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return one store for all examples: a migration costs more than an example."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('threads') / 's.db'}", create=True)
    yield engine
    engine.dispose()


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(1, 5), st.randoms())
def test_any_order_and_any_batches_give_the_connected_sets(
    shared_engine: Engine, groups: list[list[str]], size: int, random: Random
) -> None:
    with write_transaction(shared_engine) as connection:
        connection.execute(schema.thread_node.delete())
        random.shuffle(groups)
        for start in range(0, len(groups), size):
            link_threads(connection, groups[start : start + size])
    stored = _stored(shared_engine)
    named = {digest63(node): node for group in groups for node in group}
    assert _partition({named[node]: thread for node, thread in stored.items()}) == _connected(
        groups
    )
    assert all(thread in stored for thread in stored.values()), "a thread is named by a member"


def test_link_returns_the_thread_of_every_id(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    with write_transaction(engine) as connection:
        first = link_threads(connection, [("<a>", "<b>"), ("<c>",)]).thread_of
        assert first["<a>"] == first["<b>"] != first["<c>"]
        second = link_threads(connection, [("<c>", "<b>")]).thread_of
        assert set(second.values()) == {first["<a>"]}
    assert set(_stored(engine).values()) == {first["<a>"]}
    engine.dispose()


def test_the_largest_of_joined_threads_keeps_its_number(engine: Engine) -> None:
    """Else a sender could invent ids that renumber a thread of thousands with each mail."""
    with write_transaction(engine) as connection:
        large = link_threads(connection, [[f"<l{n}>" for n in range(40)]]).thread_of["<l0>"]
        middle = link_threads(connection, [[f"<m{n}>" for n in range(20)]]).thread_of["<m0>"]
        assert large != middle
        for number in range(20):
            linked = link_threads(connection, [(f"<n{number}>",)])
            linked = link_threads(connection, [(f"<n{number}>", "<l1>")])
            assert set(linked.thread_of.values()) == {large}
            assert linked.joined == frozenset(), "none of them has a patch"
        linked = link_threads(connection, [("<new>", "<m3>", "<l3>")])
        assert set(linked.thread_of.values()) == {large}
    assert set(_stored(engine).values()) == {large}


def test_a_message_that_joins_threads_moves_their_messages(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    mails.store(engine, [mails.patch("a@example.org"), mails.patch("b@example.org", name="g")])

    def threads() -> set[int]:
        with engine.connect() as connection:
            return set(connection.execute(select(schema.message.c.thread_id)).scalars())

    assert len(threads()) == 2
    joining = mails.mail(
        "c@example.org", "Re: both", "Both.", answers="a@example.org",
        references=["b@example.org"],
    )  # fmt: skip
    mails.store(engine, [joining])
    assert len(threads()) == 1
    engine.dispose()
