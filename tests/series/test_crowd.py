"""Too many pieces of one sender in one thread: which they are, and what they do not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.series.crowd import MAX_LOOSE, MAX_LOOSE_NUMBER, MAX_SAME_NUMBER, find_crowded
from ingest.series.draft import Rule
from ingest.series.facts import Facts
from tests.series.test_arrange import ADA, BOB, any_order, piece, reply


def below(name: str, parent: str, number: int | None = None, total: int | None = None) -> Facts:
    return piece(name, number, total, parents=(f"<{parent}@example.org>",))


def versions(count: int) -> list[Facts]:
    """A patch sent as so many versions, each in reply to the one before."""
    return [
        replace(below(f"v{number}", f"v{number - 1}"), version=number, version_given=True)
        for number in range(1, count + 1)
    ]


def series(total: int, parent: str, stem: str = "p") -> list[Facts]:
    return [below(f"{stem}{number}", parent, number, total) for number in range(1, total + 1)]


def test_versions_in_one_thread_are_crowded_beyond_a_number() -> None:
    assert find_crowded(versions(MAX_LOOSE_NUMBER)) == {}
    crowd = versions(MAX_LOOSE_NUMBER + 1)
    assert find_crowded(crowd) == {facts.key: f"{ADA}, unnumbered" for facts in crowd}


def test_a_series_whose_cover_never_comes_is_crowded_beyond_a_number() -> None:
    whole = any_order(series(MAX_LOOSE, "cover"))
    assert [len(one.members) for one in whole.series] == [MAX_LOOSE]
    torn = any_order(series(MAX_LOOSE + 1, "cover"))
    assert {(len(one.members), one.members[0].rule) for one in torn.series} == {(1, Rule.CROWDED)}
    assert torn.series[0].members[0].evidence == ADA


@pytest.mark.parametrize("parent", ["cover", "chain"])
def test_a_series_below_its_cover_may_have_any_length(parent: str) -> None:
    total = MAX_LOOSE + 50
    patches = series(total, "cover")
    if parent == "chain":  # each in reply to the one before
        patches[1:] = [below(f"p{n}", f"p{n - 1}", n, total) for n in range(2, total + 1)]
    arranged = any_order([piece("cover", 0, total), *patches])
    assert [len(one.members) for one in arranged.series] == [total + 1]


def test_the_cover_puts_a_crowded_series_together() -> None:
    total = MAX_LOOSE + 1
    patches = series(total, "cover")
    assert len(any_order(patches).series) == total
    assert len(any_order([*patches, piece("cover", 0, total)]).series) == 1


def test_series_below_covers_of_which_there_are_too_many_are_crowded() -> None:
    mails: list[Facts] = []
    for version in range(1, MAX_LOOSE_NUMBER + 2):
        cover = below(f"c{version}", "start", 0, 2)
        mails += [
            replace(facts, version=version, version_given=True)
            for facts in (cover, *series(2, f"c{version}", f"c{version}-"))
        ]
    crowded = find_crowded(mails)
    assert crowded.keys() == {facts.key for facts in mails}
    assert set(crowded.values()) == {f"{ADA}, cover", f"{ADA}, 1", f"{ADA}, 2"}


def test_a_crowd_leaves_the_series_of_others_alone() -> None:
    cover = piece("other", 0, 2, sender=BOB)
    others = [cover, *(replace(facts, sender=BOB) for facts in series(2, "other", "o"))]
    crowd = [below(f"x{number}", "other") for number in range(MAX_SAME_NUMBER + 1)]
    arranged = any_order([*others, *crowd])
    assert [len(one.members) for one in arranged.series if one.sender == BOB] == [3]


def test_one_more_of_too_many_changes_nothing_for_the_others() -> None:
    crowd = versions(MAX_LOOSE_NUMBER + 1)
    others = [*series(20, "elsewhere"), reply("r", crowd[3])]
    before, after = (
        any_order([*crowd, *others]),
        any_order([*versions(MAX_LOOSE_NUMBER + 2), *others]),
    )
    assert set(before.series) < set(after.series)
    assert before.places.items() < after.places.items()


def test_crowds_below_one_mail_count_towards_the_thread_only_once() -> None:
    """Else one more of them could make those of other numbers too many."""
    mails = [below(f"x{number}", "start", 1, 9) for number in range(MAX_LOOSE)]
    others = [below(f"y{number}", f"z{number}", 2, 9) for number in range(MAX_LOOSE_NUMBER)]
    assert find_crowded([*mails, *others]).keys() == {facts.key for facts in mails}


def test_covers_that_are_too_many_by_themselves_say_so_in_a_larger_crowd() -> None:
    """The patches below them are loose then, which those below other covers are not."""
    crowd = [below(f"x{n}", f"gone{n}", n, 2 * MAX_LOOSE) for n in range(1, MAX_LOOSE + 2)]
    covers = [
        replace(below(f"c{version}", "start", 0, 2), version=version, version_given=True)
        for version in range(1, MAX_LOOSE_NUMBER + 2)
    ]
    patch = replace(below("p1", "c1", 1, 2), version_given=True)
    few = find_crowded([*crowd, *covers[1:], patch])
    assert {few[facts.key] for facts in (*crowd, *covers[1:])} == {ADA}
    many = find_crowded([*crowd, *covers, patch])
    assert {many[facts.key] for facts in covers} == {f"{ADA}, cover"}
    assert {many[facts.key] for facts in (*crowd, patch)} == {ADA}
