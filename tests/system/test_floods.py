"""Test that limits depend on the set of mails and not on their order, and that the fast path places
mail as arranging the whole thread would.

The limits are lowered, so that a dozen mails exceed them, except for one flood of each kind.
`benchmarks/floods.py` measures what a mail costs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from ingest.config.settings import Config
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.reports.check import check_store
from ingest.reports.export import export_records
from ingest.store.database.engine import open_store
from ingest.store.write import record
from ingest.store.write.fast_path.decision import FastPath
from tests.support import crowds, floods, histories, mails
from tests.support.databases import mainly_on
from tests.support.histories import Act, play

Item = tuple[Delivery, Derived | Failure]

FEW = settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=2_000)


def derived(deliveries: Iterable[Delivery]) -> list[Item]:
    return [(delivery, derive_or_fail(delivery, Config())) for delivery in deliveries]


def batches(items: Sequence[Item], chance: random.Random) -> list[Sequence[Item]]:
    made, at = [], 0
    while at < len(items):
        size = chance.choice((1, 1, 1, 2, 5))
        made.append(items[at : at + size])
        at += size
    return made


def outcome(
    engine: Engine, given_batches: Iterable[Sequence[Item]], say: Callable[[Connection], list[str]]
) -> list[str]:
    """Return the content of a store of these batches, and roll it back."""
    with engine.connect() as connection:
        for batch in given_batches:
            store_mail(connection, batch, Config(), now=mails.NOW)
        lines = say(connection)
        connection.rollback()
    return lines


def everything(connection: Connection) -> list[str]:
    return [*export_records(connection), *crowds.arrangement(connection)]


def differences(ours: Sequence[str], theirs: Sequence[str]) -> str:
    lost, extra = set(theirs) - set(ours), set(ours) - set(theirs)
    return "\n".join(
        [*(f"- {line}" for line in sorted(lost)), *(f"+ {line}" for line in sorted(extra))]
    )


# --- the order has no effect ------------------------------------------------------------------


def check_any_order(engine: Engine, deliveries: list[Delivery], seed: int, shuffles: int) -> None:
    items = derived(deliveries)
    wanted = outcome(engine, [items], everything)
    for number in range(shuffles):
        chance = random.Random(f"{seed} {number}")
        order = [*items, *chance.choices(items, k=len(items) // 4)] if items else []
        chance.shuffle(order)
        found = outcome(engine, batches(order, chance), everything)
        numbers = " ".join(str(items.index(item)) for item in order)
        assert found == wanted, f"{numbers}\n{differences(found, wanted)}"


# The rules are the same code on both databases: PostgreSQL gets each fourth kind here, and all of
# them in `make torture`.
@pytest.mark.parametrize(
    ("store_url", "kind"),
    [
        pytest.param(
            database,
            kind,
            marks=pytest.mark.torture if database == "postgresql" and number % 4 else (),
        )
        for database in ("sqlite", "postgresql")
        for number, kind in enumerate(floods.KINDS)
    ],
    indirect=["store_url"],
)
def test_a_flood_is_the_same_in_any_order(engine: Engine, kind: str) -> None:
    deliveries = [mails.delivery(raw) for raw in floods.flood(kind, 48)]
    check_any_order(engine, deliveries, 7, 1)


class Crowd(NamedTuple):
    """Crowds to draw for a few examples and for many, and how many comments are not too many."""

    few: st.SearchStrategy[list[Delivery]]
    many: st.SearchStrategy[list[Delivery]]
    comments: int = 8


CROWDS = {
    "anything": Crowd(crowds.crowds(4, 24), crowds.crowds(4, 30)),
    "answers-later-mail": Crowd(crowds.late_crowds(12, 24), crowds.late_crowds(12, 24)),
    "comments": Crowd(crowds.comment_crowds(10, 22), crowds.comment_crowds(10, 22), comments=2),
}


@mainly_on("sqlite", "store_url")
@pytest.mark.parametrize("kind", CROWDS)
@FEW
@given(st.data(), st.integers(0, 2**32))
def test_a_crowd_is_the_same_in_any_order(
    engine: Engine, kind: str, data: st.DataObject, seed: int
) -> None:
    crowd = CROWDS[kind]
    with crowds.little_room(comments=crowd.comments):
        check_any_order(engine, data.draw(crowd.few), seed, 2)


@pytest.mark.torture
@pytest.mark.parametrize("kind", CROWDS)
@MANY
@given(st.data(), st.integers(0, 2**32))
def test_many_crowds_are_the_same_in_any_order(
    engine: Engine, kind: str, data: st.DataObject, seed: int
) -> None:
    crowd = CROWDS[kind]
    with crowds.little_room(comments=crowd.comments):
        check_any_order(engine, data.draw(crowd.many), seed, 3)


def test_one_cover_too_many_in_a_crowd_makes_the_patches_below_covers_loose(
    engine: Engine,
) -> None:
    patches = [
        crowds.mail(n, "[PATCH] alone" if n < 4 else "[PATCH 2/2] two", f"n{n - 1}")
        for n in range(7)
    ]
    covers = [crowds.mail(n, "[PATCH 0/2] cover", f"n{n - 7}") for n in range(7, 11)]
    below = crowds.mail(11, "[PATCH 1/2] one", "n7")
    items = derived([*patches, *covers[:3], below, covers[3]])
    with crowds.little_room():
        before = outcome(engine, [items[:-1]], everything)
        assert any("member <n11@" in line and " first " in line for line in before)
        wanted = outcome(engine, [items], everything)
        assert any("member <n11@" in line and " crowded " in line for line in wanted)
        assert outcome(engine, [items[:-1], items[-1:]], everything) == wanted


def test_single_patches_supersede_each_other_no_more_when_what_they_amend_is_one_patch(
    engine: Engine,
) -> None:
    """A patch that was sent under the id of a cover, and arrives late, takes its place."""
    second, third = (crowds.START + timedelta(seconds=seconds) for seconds in (1, 2))
    cover = crowds.mail(1, "[PATCH v2 0/2] cover", msgid="m0", date=second)
    patch = crowds.mail(0, "[PATCH] alone", msgid="m0")
    later = [
        crowds.mail(2, "[PATCH v3] alone", "m0", date=second),
        crowds.mail(3, "[PATCH v3] alone", "m0", date=third),
    ]
    items = derived([cover, *later, patch])
    wanted = outcome(engine, [items], everything)
    assert outcome(engine, [[item] for item in items], everything) == wanted


# --- the fast path is the way that arranging goes -----------------------------------------------


def check_fast_path(engine: Engine, deliveries: list[Delivery], seed: int) -> None:
    """Compare the results of these batches with and without the fast path."""
    chance = random.Random(seed)
    items = derived(deliveries)
    if chance.random() < 0.5:
        chance.shuffle(items)
    made = batches(items, chance)
    note(str([len(batch) for batch in made]))
    found = outcome(engine, made, everything)
    with mock.patch.object(record, "find_fast_path", return_value=FastPath.empty()):
        wanted = outcome(engine, made, everything)
    assert found == wanted, differences(found, wanted)


@mainly_on("sqlite", "store_url")
@pytest.mark.parametrize("kind", CROWDS)
@FEW
@given(st.data(), st.integers(0, 2**32))
def test_the_fast_path_of_a_crowd_is_what_arranging_makes(
    engine: Engine, kind: str, data: st.DataObject, seed: int
) -> None:
    crowd = CROWDS[kind]
    with crowds.little_room(comments=crowd.comments):
        check_fast_path(engine, data.draw(crowd.few), seed)


@pytest.mark.torture
@pytest.mark.parametrize("kind", CROWDS)
@MANY
@given(st.data(), st.integers(0, 2**32))
def test_the_fast_path_of_many_crowds_is_what_arranging_makes(
    engine: Engine, kind: str, data: st.DataObject, seed: int
) -> None:
    crowd = CROWDS[kind]
    with crowds.little_room(comments=crowd.comments):
        check_fast_path(engine, data.draw(crowd.many), seed)


@mainly_on("sqlite", "store_url")
@FEW
@given(histories.histories(4, 20), st.integers(0, 2**32))
def test_the_fast_path_of_a_history_is_what_arranging_makes(
    engine: Engine, acts: list[Act], seed: int
) -> None:
    check_fast_path(engine, play(acts), seed)


@pytest.mark.torture
@MANY
@given(histories.histories(4, 20), st.integers(0, 2**32))
def test_the_fast_path_of_many_histories_is_what_arranging_makes(
    engine: Engine, acts: list[Act], seed: int
) -> None:
    check_fast_path(engine, play(acts), seed)


# Few of these mails are crowded before there are hundreds; or none replies to anything.
NOT_ALL_FAST = (
    "plain", "unnumbered-pairs", "pairs", "slow-pairs", "numbered", "numbered-downwards",
    "numbered-unthreaded", "versions-of-series", "versions-with-diff",
    "linked", "dependent", "change-id", "same-diff",
)  # fmt: skip


COMMENTS = tuple(kind for kind in floods.KINDS if kind.startswith("comments-"))


def count_fast(engine: Engine, kind: str, together: int, alone: int) -> int:
    """Return how many mails of a flood take the fast path: some of those that are stored alone.

    `together`: the number of those before them, which are one batch.
    """
    taken = []
    find = record.find_fast_path

    def see(*arguments: object) -> FastPath:
        made = find(*arguments)  # type: ignore[arg-type]
        taken.append(bool(made.threads))
        return made

    items = derived(mails.delivery(raw) for raw in floods.flood(kind, together + alone))
    with mock.patch.object(record, "find_fast_path", see):
        outcome(engine, [items[:together], *([item] for item in items[together:])], lambda _: [])
    return sum(taken[1:])


@mainly_on("sqlite", "store_url")
def test_a_crowd_takes_the_fast_path(engine: Engine) -> None:
    """The tests above would also pass if no mail took it."""
    for kind in floods.KINDS:
        if kind not in (*NOT_ALL_FAST, *COMMENTS):
            assert count_fast(engine, kind, 44, 16) > 5, kind


@pytest.mark.parametrize("kind", COMMENTS)
def test_too_many_comments_take_the_fast_path(engine: Engine, kind: str) -> None:
    with crowds.little_room(comments=8):
        assert count_fast(engine, kind, 14, 8) == 8


# --- audits agree -------------------------------------------------------------------------------


@mainly_on("sqlite")
@pytest.mark.parametrize("kind", ["same-id", "pairs", "one-number", "unseen-patches"])
def test_a_check_finds_nothing_wrong_with_a_flood(database_url: str, kind: str) -> None:
    engine = open_store(database_url, create=True)
    for raw in floods.flood(kind, 60):
        mails.store(engine, [raw])
    assert check_store(engine, Config()).faults == ()
    engine.dispose()
