"""Test which patch a commit was made from: by one key, by several, and by contradictory keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lifecycle.commit import CommitFacts, sample_lines
from ingest.lifecycle.landing import (
    CommitMatch,
    MatchKey,
    PatchFacts,
    is_same_person,
    match_commit,
    needs_other_patch_ids,
    normalise_commit_title,
)
from ingest.mail.message import Address

ADA = Address("Ada Byron", "ada@example.org")
BOB = Address("Bob Tester", "bob@example.com")
SENT = datetime(2026, 3, 2, 10, 15)
DAY = timedelta(days=1)
LINES = sample_lines(b"+line number %d" % number for number in range(10))
LIKE = sample_lines(b"+line number %d" % number for number in range(5, 15))
UNLIKE = sample_lines(b"+something else %d" % number for number in range(10))

COMMIT = CommitFacts(
    id="c" * 40,
    author=ADA,
    author_date=SENT,
    commit_date=SENT + 5 * DAY,
    title="fs: change",
    links=("<p@example.org>",),
    patch_id="1" * 40,
    sample=LINES,
)
PATCH = PatchFacts(
    key="<p@example.org>",
    ids=("<p@example.org>",),
    title="fs: change",
    authors=(ADA,),
    date=SENT,
    patch_id="1" * 40,
    sample=LINES,
)
# For each key, what a patch has that differs.
WITHOUT = {
    MatchKey.LINK: {"ids": ("<q@example.org>",)},
    MatchKey.PATCH_ID: {"patch_id": "2" * 40},
    MatchKey.DATE: {"date": SENT - DAY},
    MatchKey.AUTHOR: {"authors": (BOB,)},
    MatchKey.TITLE: {"title": "fs: another title"},
    MatchKey.LINES: {"sample": UNLIKE},
}


def having(*keys: MatchKey, key: str = "<p@example.org>") -> PatchFacts:
    """Return a patch that has only these keys in common with the commit."""
    changes: dict[str, object] = {"key": key}
    for name, change in WITHOUT.items():
        if name not in keys:
            changes |= change
    return replace(PATCH, **changes)  # type: ignore[arg-type]


def found(*patches: PatchFacts, commit: CommitFacts = COMMIT) -> str | None:
    """Return the key of the patch that is found, which is the same in any order."""
    results = {match_commit(commit, order) for order in permutations(patches)}
    assert len(results) == 1
    match = results.pop()
    return match.key if match is not None else None


LINK, PATCH_ID, DATE, AUTHOR, TITLE, SAME_LINES = WITHOUT


def test_all_keys() -> None:
    assert match_commit(COMMIT, [PATCH]) == CommitMatch("<p@example.org>", tuple(WITHOUT))


@pytest.mark.parametrize(
    "keys",
    [
        (LINK, TITLE),
        (LINK, AUTHOR, SAME_LINES),
        (LINK, PATCH_ID),
        (PATCH_ID, AUTHOR),
        (PATCH_ID, TITLE),
        (DATE, AUTHOR, TITLE),
        (DATE, AUTHOR, SAME_LINES),
        (TITLE, AUTHOR, SAME_LINES),
    ],
)
def test_enough_to_be_found(keys: tuple[MatchKey, ...]) -> None:
    match = match_commit(COMMIT, [having(*keys)])
    assert match == CommitMatch("<p@example.org>", tuple(key for key in MatchKey if key in keys))


@pytest.mark.parametrize(
    "keys",
    [
        (LINK,),  # to a report, or a discussion
        (LINK, AUTHOR),
        (PATCH_ID, SAME_LINES),  # the same change by two people
        (DATE, AUTHOR),
        (DATE, SAME_LINES),  # the date of somebody else
        (AUTHOR, TITLE),
        (TITLE, SAME_LINES),
        (AUTHOR, SAME_LINES),
        (),
    ],
)
def test_too_little_to_be_found(keys: tuple[MatchKey, ...]) -> None:
    assert match_commit(COMMIT, [having(*keys)]) is None


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        ((LINK, TITLE), (PATCH_ID, AUTHOR, TITLE)),
        ((LINK, TITLE), (DATE, AUTHOR, TITLE, SAME_LINES)),
        ((PATCH_ID, AUTHOR), (DATE, AUTHOR, TITLE, SAME_LINES)),
        ((DATE, AUTHOR, TITLE), (TITLE, AUTHOR, SAME_LINES)),
        # Content and date identify a mail; the link leads to another version.
        ((PATCH_ID, DATE, AUTHOR), (LINK, AUTHOR, TITLE, SAME_LINES)),
    ],
)
def test_keys_that_disagree(stronger: tuple[MatchKey, ...], weaker: tuple[MatchKey, ...]) -> None:
    assert found(having(*weaker, key="<w>"), having(*stronger, key="<s>")) == "<s>"


def test_the_latest_version_before_the_commit() -> None:
    versions = [
        replace(PATCH, key=f"<{days}>", ids=(f"<{days}>",), date=SENT + days * DAY)
        for days in (1, 3, 9)
    ]
    assert found(*versions) == "<3>"
    assert found(versions[2]) == "<9>"  # committed first, then sent


def test_the_version_that_is_most_like_the_commit() -> None:
    early = replace(having(TITLE, AUTHOR, SAME_LINES, key="<1>"), date=SENT - 9 * DAY)
    late = replace(early, key="<2>", sample=LIKE, date=SENT + DAY)
    assert found(early, late) == "<1>"


def test_patches_with_one_title_need_more_in_common() -> None:
    few = sample_lines(b"+line number %d" % number for number in range(7, 17))
    patch = replace(having(TITLE, AUTHOR, SAME_LINES), sample=few)
    sibling = replace(patch, key="<q>", sample=UNLIKE)
    assert found(patch, sibling) is None
    assert found(replace(patch, sample=LIKE), sibling) is None
    assert found(replace(patch, sample=LINES), sibling) == "<p@example.org>"


def test_without_lines_a_title_counts_if_all_that_have_it_are_versions() -> None:
    commit = replace(COMMIT, sample=None, patch_id=None, links=(), author_date=None)
    one, two = having(TITLE, AUTHOR, SAME_LINES), having(TITLE, AUTHOR, SAME_LINES, key="<2>")
    two = replace(two, date=SENT + DAY, sample=LIKE)
    assert found(one, commit=commit) == one.key
    assert found(one, two, commit=commit) == "<2>"
    assert found(one, replace(two, sample=UNLIKE), commit=commit) is None
    assert found(one, replace(two, authors=(BOB,)), commit=commit) is None


def test_a_date_of_several_mails_is_none_of_them() -> None:
    commit = replace(COMMIT, sample=None, patch_id=None, links=())
    one = having(DATE, AUTHOR)
    assert found(one, commit=commit) == one.key
    assert found(one, replace(one, key="<2>"), commit=commit) is None


def test_a_link_in_the_mail_itself_is_the_authors() -> None:
    first = replace(having(LINK, AUTHOR, TITLE, SAME_LINES, key="<1>"), date=SENT - DAY)
    second = replace(having(AUTHOR, TITLE, SAME_LINES, key="<2>"), links=first.ids)
    assert found(first, second) == "<2>"
    assert found(first) == "<1>"


def test_a_mail_may_name_itself() -> None:
    assert found(replace(PATCH, links=PATCH.ids)) == PATCH.key


def test_backports_and_originals() -> None:
    backport = replace(COMMIT, originals=("0123456789ab",))
    mail = replace(PATCH, originals=("0123456789abcdef",), key="<b>")
    assert found(PATCH, commit=backport) is None
    assert found(mail) is None
    assert found(PATCH, mail, commit=backport) == "<b>"
    assert found(PATCH, mail) == PATCH.key
    assert found(replace(mail, originals=("fedcba",)), commit=backport) is None


def test_other_patch_ids_count_only_where_no_stronger_key_finds_a_patch() -> None:
    commit = replace(COMMIT, links=(), other_patch_ids=("3" * 40,))
    dated = having(DATE, AUTHOR, TITLE, key="<1>")
    other = replace(having(AUTHOR, key="<2>"), patch_id="3" * 40)
    titled = having(AUTHOR, TITLE, SAME_LINES, key="<3>")
    assert found(other, titled, commit=commit) == "<2>"
    assert found(dated, other, commit=commit) == "<1>"
    match = match_commit(commit, [other])
    assert match is not None
    assert match.found_by[0] is MatchKey.OTHER_PATCH_ID
    for patches in ([], [titled], [other]):
        assert needs_other_patch_ids(match_commit(commit, patches))
    assert not needs_other_patch_ids(match_commit(commit, [dated]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("fs: change", "FS:  Change."),
        ("[media] fs: change", "fs: change"),
        ("[a] [b]fs: change", "[PATCH v2] fs: change"),
    ],
)
def test_titles_that_are_equal(first: str, second: str) -> None:
    assert normalise_commit_title(first) == normalise_commit_title(second)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Address("A", "ada@example.org"), Address("B", "Ada@Example.org"), True),
        (Address("José Núñez", "j@a.example"), Address("Nunez, Jose", "j@b.example"), True),
        (Address("", "a@example.org"), Address("", "b@example.org"), False),
        (Address("", ""), Address("", ""), False),
        (Address("Ada Byron", "a@x.example"), Address("Ada Lovelace", "a@y.example"), False),
    ],
)
def test_people(first: Address, second: Address, same: bool) -> None:
    assert is_same_person(first, second) is same


@given(
    st.lists(st.sets(st.sampled_from(list(WITHOUT))), max_size=4),
    st.lists(st.integers(0, 12), min_size=4, max_size=4),
)
def test_the_order_of_patches_has_no_effect(keys: list[set[MatchKey]], days: list[int]) -> None:
    patches = []
    for number, common in enumerate(keys):
        patch = having(*common, key=f"<{number}>")
        if DATE not in common:
            patch = replace(patch, date=SENT + (days[number] + 1) * DAY)
        patches.append(patch)
    found(*patches)
