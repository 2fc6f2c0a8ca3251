"""Arrange sets that no fixture can hold: long series, large threads, forged circles, pins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ingest.series.arrange import ALONE, Arrangement, arrange
from ingest.series.draft import Rule
from ingest.series.facts import Facts, MessageKind

START = datetime(2026, 3, 2, 10, 15)
ADA, BOB = "ada@example.org", "bob@example.com"


def piece(name: str, number: int | None = None, total: int | None = None, **more: object) -> Facts:
    """Make the facts of a patch, or of a cover for number 0."""
    msgid = f"<{name}@example.org>"
    facts = Facts(
        key=msgid,
        msgid=msgid,
        kind=MessageKind.COVER if number == 0 else MessageKind.PATCH,
        sender=ADA,
        date=START + timedelta(seconds=30 * (number or 0)),
        title=f"change {name}",
        number=number,
        total=total,
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def reply(name: str, *parents: Facts, sender: str = BOB) -> Facts:
    msgid = f"<{name}@example.com>"
    above = tuple(parent.msgid for parent in parents)
    late = parents[0].when + timedelta(minutes=5) if parents else START
    return Facts(
        key=msgid,
        msgid=msgid,
        kind=MessageKind.REPLY,
        sender=sender,
        date=late,
        parents=above,
        reply=True,
    )


def any_order(submissions: Sequence[Facts]) -> Arrangement:
    """Return the arrangement, which must be the same in ten orders."""
    wanted = arrange(submissions)
    for seed in range(10):
        mixed = random.Random(seed).sample(submissions, len(submissions))
        assert arrange(mixed) == wanted
    return wanted


def posting(count: int, *, threaded: bool, apart: timedelta, stem: str = "s") -> list[Facts]:
    """Make the facts of a cover and of patches, sent one after the other."""
    cover = piece(f"{stem}-0", 0, count)
    above = (cover.msgid,) if threaded else ()
    return [cover] + [
        piece(f"{stem}-{number}", number, count, parents=above, date=START + number * apart)
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "unthreaded"])
def test_a_hundred_and_ten_patches_that_take_an_hour(threaded: bool) -> None:
    sent = posting(110, threaded=threaded, apart=timedelta(seconds=33))
    (series,) = any_order(sent).series
    assert series.key == sent[0].key
    assert (series.received_total, series.total) == (110, 110)
    assert [member.number for member in series.members] == [None, *range(1, 111)]
    assert {member.rule for member in series.members[2:]} == {
        Rule.BELOW if threaded else Rule.UNTHREADED
    }


def test_a_thread_of_a_thousand_messages() -> None:
    """Arrange ten versions of nine patches in one thread, with nine hundred replies.

    There are ten series, and each reply applies to the patch above it, however deep it is.
    """
    sent: list[Facts] = []
    root: tuple[str, ...] = ()
    speaks_to: dict[str, str] = {}
    for version in range(1, 11):
        later = timedelta(days=version)
        made = [
            replace(
                facts,
                version=version,
                version_given=version > 1,
                date=(facts.date or START) + later,
                parents=facts.parents + root,
            )
            for facts in posting(9, threaded=True, apart=timedelta(seconds=2), stem=f"v{version}")
        ]
        root = root or (made[0].msgid,)
        sent += made
        for facts in made[1:]:
            above = [facts]
            for depth in range(10):
                answer = reply(f"r{version}.{facts.number}.{depth}", *above[::-1])
                speaks_to[answer.key] = facts.key
                above.append(answer)
                sent.append(answer)
    assert len(sent) == 1_000
    found = any_order(sent)
    assert sorted(
        (series.version, series.received_total, series.total) for series in found.series
    ) == [(version, 9, 9) for version in range(1, 11)]
    assert {key: found.places[key].parent for key in speaks_to} == speaks_to


def test_mails_that_answer_each_other_in_a_circle() -> None:
    one, other, third = (piece(name, None) for name in "abc")
    circle = [
        replace(one, parents=(third.msgid,)),
        replace(other, parents=(one.msgid,), date=START + timedelta(hours=1)),
        replace(third, parents=(other.msgid,), date=START + timedelta(hours=2)),
    ]
    found = any_order(circle)
    assert [series.key for series in found.series] == sorted(facts.key for facts in circle)
    assert {place.outcome for place in found.places.values()} == {"patch"}


def test_a_set_and_every_part_of_it_have_a_place_for_each() -> None:
    """Place each mail that was received, whatever is missing: a patch is always a patch."""
    chance = random.Random(7)
    whole = posting(4, threaded=True, apart=timedelta(minutes=1))
    whole += [
        piece("again", 2, 4, version=2, version_given=True, parents=(whole[2].msgid,)),
        piece("behind", 5, 4, parents=(whole[0].msgid,)),
        piece("theirs", 3, 4, sender=BOB, parents=(whole[0].msgid,)),
        replace(piece("bomb", 0, 9), patchset=True, number=None, total=None, date=START),
        *(reply(f"r{n}", facts) for n, facts in enumerate(whole)),
    ]
    for _ in range(500):
        some = chance.sample(whole, chance.randint(1, len(whole)))
        found = arrange(some)
        assert found.places.keys() == {facts.key for facts in some}
        for facts in some:
            if facts.kind is MessageKind.PATCH:
                assert found.places[facts.key].outcome == "patch"
        members = [member.key for series in found.series for member in series.members]
        assert len(members) == len(set(members))


# --- pins by operators ------------------------------------------------------------------------


def test_a_pin_moves_a_patch_and_displaces_who_is_there() -> None:
    first = posting(2, threaded=True, apart=timedelta(minutes=1))
    stray = piece("stray", 2, 2, sender=BOB, date=START + timedelta(days=3))
    found = arrange([*first, stray], {stray.key: first[0].key})
    by_key = {series.key: series for series in found.series}
    assert [member.key for member in by_key[first[0].key].members] == [
        first[0].key,
        first[1].key,
        stray.key,
    ]
    assert by_key[first[0].key].members[-1].rule is Rule.PINNED
    assert by_key[first[2].key].members[0].rule is Rule.PINNED


def test_a_pin_lets_a_patch_stand_alone() -> None:
    first = posting(2, threaded=True, apart=timedelta(minutes=1))
    found = arrange(first, {first[1].key: ALONE})
    assert [(series.key, series.received_total) for series in found.series] == sorted(
        [(first[0].key, 1), (first[1].key, 1)]
    )


def test_pins_to_what_is_not_there_and_in_a_ring_change_nothing() -> None:
    first = posting(2, threaded=True, apart=timedelta(minutes=1))
    as_sent = arrange(first)
    assert arrange(first, {first[1].key: "<nobody@example.org>"}) == as_sent
    ring = {first[1].key: first[2].key, first[2].key: first[1].key}
    assert arrange(first, ring) == as_sent
