"""Link revisions by what the sender states, in any order of candidates and without circles."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingest.series.facts import Facts, MessageKind
from ingest.series.links.evidence import RevisionEvidence
from ingest.series.links.posting import Posting, make_posting
from ingest.series.links.supersede import find_predecessor

START = datetime(2026, 3, 2, 10, 15)
ADA, BOB = "ada@example.org", "bob@example.com"


def patch(name: str, day: int | None, **more: object) -> Facts:
    """Make the facts of a patch with a title of its own."""
    facts = Facts(
        key=f"<{name}>",
        msgid=f"<{name}>",
        kind=MessageKind.PATCH,
        sender=ADA,
        date=None if day is None else START + timedelta(days=day),
        title=f"{name} {name}{name} changes",
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def posting(*members: Facts, partial: bool = False) -> Posting:
    """Make the posting of a series with these members."""
    first = members[0]
    return make_posting(
        first.key,
        version=(first.version, first.version_minor),
        date=first.date,
        partial=partial,
        parent_series=None,
        members=members,
    )


def states(*names: str) -> dict[str, tuple[str, ...]]:
    """Return the fields of facts whose text supersedes these messages."""
    ids = tuple(f"<{name}>" for name in names)
    return {"earlier": ids, "supersedes": ids}


def predecessor(of: Posting, *candidates: Posting) -> str | None:
    link = find_predecessor(of, candidates)
    return link.key if link is not None else None


def test_a_statement_needs_no_version() -> None:
    old, new = posting(patch("a", 0)), posting(patch("b", 1, **states("a")))
    link = find_predecessor(new, [old])
    assert link is not None
    assert (link.key, link.evidence) == ("<a>", ((RevisionEvidence.SUPERSEDES, "<a>"),))
    assert predecessor(old, new) is None


def test_a_statement_needs_no_branch_in_common() -> None:
    old, new = patch("a", 0, tag="6.1"), patch("b", 1, tag="6.6", **states("a"))
    assert predecessor(posting(new), posting(old)) == "<a>"


def test_a_statement_takes_precedence_over_a_higher_version() -> None:
    first, second = patch("a", 0), patch("b", 1, title="lock first", version=2)
    third = patch("c", 2, title="lock first", version=3, **states("a"))
    assert predecessor(posting(third), posting(first), posting(second)) == "<a>"


def test_somebody_elses_statement_needs_more_evidence() -> None:
    old = posting(patch("a", 0, title="lock first"))
    assert predecessor(posting(patch("b", 1, sender=BOB, **states("a"))), old) is None
    same_title = patch("b", 1, sender=BOB, title="lock first", **states("a"))
    assert predecessor(posting(same_title), old) == "<a>"


def test_a_foreign_patch_in_a_series_states_nothing_for_its_sender() -> None:
    old = posting(patch("a", 0))
    new = posting(patch("b", 1), patch("c", 1, sender=BOB, **states("a")))
    assert predecessor(new, old) is None


def test_of_two_that_supersede_each_other_the_later_does() -> None:
    one, two = patch("a", 0, **states("a", "b")), patch("b", 1, **states("a"))
    assert predecessor(posting(one), posting(two)) is None
    assert predecessor(posting(two), posting(one)) == "<a>"


def test_a_listed_version_counts_and_a_mentioned_one_does_not() -> None:
    old = posting(patch("a", 0))
    assert predecessor(posting(patch("b", 1, earlier=("<a>",))), old) == "<a>"
    assert predecessor(posting(patch("b", 1, earlier=("<a>",), mentioned=("<a>",))), old) is None


def test_the_next_version_supersedes_the_series_and_not_a_patch_sent_for_it() -> None:
    series = posting(patch("a", 0, title="x"), patch("b", 0, title="y"), patch("c", 0, title="z"))
    single = posting(patch("d", 1, title="w", **states("b")))
    following = posting(
        *(patch(name, 2, title=title, version=2) for name, title in (("e", "x"), ("f", "w")))
    )
    assert predecessor(single, series) == "<a>"
    assert predecessor(following, series, single) == "<a>"


def test_the_strongest_evidence_wins_over_the_latest_date() -> None:
    alike = patch("b", 5, title="fs: rewrite beta using new api", files=(1, 2))
    same = patch("a", 0, title="fs: rewrite alpha using new api", files=(1, 3))
    new = patch("c", 9, title="fs: rewrite alpha using new api", files=(1, 2, 3), version=2)
    assert predecessor(posting(new), posting(same), posting(alike)) == "<a>"
    assert predecessor(posting(new), posting(alike)) == "<b>"


def test_a_similar_title_needs_files_or_lines_in_common() -> None:
    old = {"title": "fs: check the result of open", "files": (1,), "lines": (1, 2, 3, 4)}
    new = {"title": "fs: check the result of close", "version": 2}
    for files, lines, wanted in (
        ((1,), (3, 4, 5, 6), "<a>"),
        ((1,), (5, 6, 7, 8), None),  # one file, and other lines of it
        ((1,), (), "<a>"),
        ((2,), (1, 2, 3, 4), "<a>"),  # the file has another name
        ((2,), (3, 4, 5, 6), None),
        ((), (), None),
    ):
        changes = {"files": files, "lines": lines}
        later = patch("b", 1, **new, **changes)
        assert predecessor(posting(later), posting(patch("a", 0, **old))) == wanted


def test_a_series_of_one_title_without_anything_in_common_is_another() -> None:
    kernel = [patch("a", 0, title="add a filter"), patch("b", 0, title="queue: x", files=(1,))]
    tools = [
        patch("c", 3, title="add a filter", version=2),
        patch("d", 3, title="lib: y", files=(2,), version=2),
    ]
    for members in (kernel, tools):
        members[0] = replace(members[0], kind=MessageKind.COVER)
    assert predecessor(posting(*tools), posting(*kernel)) is None
    tools[1] = replace(tools[1], files=(1, 2))
    assert predecessor(posting(*tools), posting(*kernel)) == "<a>"


def test_the_next_version_follows_the_chain_that_it_links_to() -> None:
    first = posting(patch("a", 0, title="lock first"))
    second = posting(patch("b", 1, title="lock first", version=2))
    third = patch("c", 2, title="lock first", version=3, earlier=("<a>",))
    assert predecessor(posting(third), first, second) == "<b>"


def test_a_number_outranks_a_clock_that_is_minutes_wrong() -> None:
    first = patch("a", 0, title="lock first")
    for minutes, wanted in ((4, "<a>"), (45, None)):
        date = START - timedelta(minutes=minutes)
        second = patch("b", 0, title="lock first", version=2, date=date)
        assert predecessor(posting(second), posting(first)) == wanted
        assert predecessor(posting(first), posting(second)) is None


def test_a_person_is_known_by_the_full_name_for_the_next_version_of_a_title() -> None:
    old = patch("a", 0, title="lock first", sender_name="ada byron")
    for changes, wanted in (
        ({"version": 2}, "<a>"),
        ({"version": 3}, None),
        ({"version": 2, "title": "lock it first"}, None),
        ({"version": 2, "sender_name": "bob byron"}, None),
    ):
        values = {"title": "lock first", "sender_name": "ada byron", "sender": BOB, **changes}
        assert predecessor(posting(patch("b", 1, **values)), posting(old)) == wanted
    nobody = {"title": "lock first", "sender_name": ""}
    new = patch("b", 1, sender=BOB, version=2, **nobody)
    assert predecessor(posting(new), posting(patch("a", 0, **nobody))) is None


NAMES = st.sampled_from("abcdef")


@st.composite
def histories(draw: st.DrawFn) -> list[Posting]:
    """Draw dated postings of few people that name each other at random."""
    return [
        posting(
            patch(
                name,
                draw(st.integers(0, 3)),
                sender=draw(st.sampled_from((ADA, ADA, BOB))),
                title=draw(st.sampled_from(("lock first", "lock it first", "count"))),
                version=draw(st.integers(1, 3)),
                rfc=draw(st.booleans()),
                resend=draw(st.booleans()),
                files=tuple(draw(st.sets(st.integers(0, 2)))),
                sender_name=draw(st.sampled_from(("", "ada byron"))),
                **states(*draw(st.sets(NAMES, max_size=2))),
                parents=tuple(f"<{parent}>" for parent in draw(st.sets(NAMES, max_size=1))),
            )
        )
        for name in draw(st.sets(NAMES, min_size=2))
    ]


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_has_no_effect(postings: list[Posting], chance: object) -> None:
    links = [find_predecessor(posting, postings) for posting in postings]
    mixed = list(postings)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert [find_predecessor(posting, mixed) for posting in postings] == links


@given(histories())
def test_no_chain_of_revisions_is_a_circle(postings: list[Posting]) -> None:
    links = {posting.key: predecessor(posting, *postings) for posting in postings}
    for key, predecessor_key in links.items():
        seen, following = {key}, predecessor_key
        while following is not None:
            assert following not in seen
            seen.add(following)
            following = links[following]


@given(histories())
def test_candidates_that_would_not_be_chosen_alone_have_no_effect(postings: list[Posting]) -> None:
    """The store keeps the links that two postings have, and chooses among these."""
    for posting in postings:
        linked = [other for other in postings if find_predecessor(posting, [other]) is not None]
        assert find_predecessor(posting, linked) == find_predecessor(posting, postings)
