"""Test each kind of evidence between revisions by itself, at the limits where it counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from zlib import crc32

import pytest

from ingest.series.links.evidence import (
    RevisionEvidence,
    Strength,
    find_evidence,
    has_same_content,
    is_same_work,
    is_sufficient,
    weigh,
)
from ingest.series.links.posting import Posting
from tests.series.test_supersede import BOB, patch, posting

DAY = timedelta(days=1)


def make(name: str, version: int = 1, **more: object) -> Posting:
    """Make a posting that shares nothing with one of another name but its sender."""
    bare = posting(patch(name, version, version=version))
    unshared = {
        "hashes": frozenset({f"hash {name}"}),
        "files": frozenset({crc32(name.encode())}),
        "lines": frozenset(crc32(f"{name} {number}".encode()) for number in range(8)),
    }
    return replace(bare, **(unshared | more))  # type: ignore[arg-type]


def named(title: str) -> dict[str, object]:
    """Return the fields of a posting of one patch with a title."""
    return {"title": title, "bare_title": title.partition(": ")[2] or title, "titles": {title}}


def sets(**given: object) -> dict[str, object]:
    return {name: frozenset(items) for name, items in given.items()}  # type: ignore[call-overload]


OLD = make("old")


def kinds(new: Posting, old: Posting = OLD) -> set[RevisionEvidence]:
    return {kind for kind, _ in find_evidence(new, old)}


def links(new: Posting, old: Posting = OLD) -> bool:
    return is_sufficient(new, old, find_evidence(new, old))


def test_series_that_share_nothing_have_no_evidence() -> None:
    new = make("new", 2)
    assert find_evidence(new, OLD) == ()
    assert not links(new)
    assert weigh(new, OLD, ()) == Strength(False, False, 0, False, False, False)


@pytest.mark.parametrize(
    ("fields", "kind", "value"),
    [
        (sets(superseded=["<old>", "<other>"]), RevisionEvidence.SUPERSEDES, "<old>"),
        (sets(linked=["<old>", "<other>"]), RevisionEvidence.LINK, "<old>"),
        (sets(hashes=["hash old", "more"]), RevisionEvidence.PATCHES, "1 of 2"),
        (sets(titles=[*OLD.titles, "more"]), RevisionEvidence.PATCH_TITLES, "1 of 2"),
        ({"title": OLD.title}, RevisionEvidence.TITLE, OLD.title),
        (sets(answered=["<old>", "<x>"]), RevisionEvidence.IN_REPLY_TO, "<old>"),
    ],
)
def test_each_kind_of_evidence_has_a_value(
    fields: dict[str, object], kind: RevisionEvidence, value: str
) -> None:
    assert (kind, value) in find_evidence(make("new", 2, **fields), OLD)


def test_a_change_id_is_shared_or_none() -> None:
    old = replace(OLD, change_ids=frozenset({"b", "c"}))
    assert (RevisionEvidence.CHANGE_ID, "b") in find_evidence(
        make("new", 2, **sets(change_ids=["a", "b"])), old
    )
    assert kinds(make("new", 2, **sets(change_ids=["a"])), old) == set()


def test_an_id_that_it_supersedes_is_no_link_too() -> None:
    new = make("new", 2, **sets(superseded=["<old>"], linked=["<old>"]))
    assert kinds(new) == {RevisionEvidence.SUPERSEDES}


def test_the_thread_of_both_counts_with_a_similar_title_only() -> None:
    """Two patches that answer one mail are not related, unless their titles are."""
    old = replace(OLD, answered=frozenset({"<above>"}))
    assert kinds(make("new", 2, **sets(answered=["<above>"])), old) == set()
    like = {"title": f"{old.title} too", **sets(answered=["<above>"])}
    assert kinds(make("new", 2, **like), old) == {
        RevisionEvidence.IN_REPLY_TO,
        RevisionEvidence.SIMILAR_TITLE,
    }
    alone = {**like, **sets(answered=["<elsewhere>"])}
    assert kinds(make("new", 2, **alone), old) == {RevisionEvidence.SIMILAR_TITLE}


def test_what_it_answers_itself_precedes_the_thread_of_both() -> None:
    old = replace(OLD, answered=frozenset({"<above>"}))
    new = make("new", 2, title=f"{old.title} too", **sets(answered=["<above>", "<old>"]))
    assert (RevisionEvidence.IN_REPLY_TO, "<old>") in find_evidence(new, old)


def test_files_and_lines_are_named_only_where_nothing_better_is() -> None:
    shared = sets(files=OLD.files, lines=OLD.lines)
    below = make("new", 2, **sets(answered=["<old>"]), **shared)
    assert {RevisionEvidence.FILES, RevisionEvidence.LINES} <= kinds(below)
    assert kinds(make("new", 2, title=OLD.title, **shared)) == {RevisionEvidence.TITLE}
    assert kinds(make("new", 2, **shared)) == set(), "they are not enough to look at it"


@pytest.mark.parametrize(("shared", "counts"), [(3, False), (4, True)])
def test_a_few_lines_tell_nothing(shared: int, counts: bool) -> None:
    lines = sets(lines=sorted(OLD.lines)[:shared])
    new = make("new", 2, **sets(answered=["<old>"]), **lines)
    assert (RevisionEvidence.LINES in kinds(new)) == counts


# --- how strong it is ----------------------------------------------------------------------------


def strength(new: Posting, old: Posting = OLD) -> Strength:
    return weigh(new, old, find_evidence(new, old))


def test_half_of_the_patches_are_the_same() -> None:
    old = replace(OLD, hashes=frozenset("abcd"))
    assert strength(make("new", 2, **sets(hashes="abxy")), old).same_patches
    assert not strength(make("new", 2, **sets(hashes="axyz")), old).same_patches
    assert not strength(make("new", 2, **sets(hashes="wxyz")), old).same_patches


def test_half_of_the_files_are_the_same() -> None:
    old = replace(OLD, files=frozenset({1, 2, 3, 4}))
    assert strength(make("new", 2, **sets(files=[1, 2, 8, 9])), old).same_files
    assert not strength(make("new", 2, **sets(files=[1, 7, 8, 9])), old).same_files
    assert not strength(make("new", 2, **sets(files=[6, 7, 8, 9])), old).same_files


def test_the_thread_and_a_similar_title_are_weighed() -> None:
    assert strength(make("new", 2, **sets(answered=["<old>"]))).in_reply
    assert not strength(make("new", 2, title=OLD.title)).in_reply
    assert strength(make("new", 2, title=f"{OLD.title} too")).similar
    assert not strength(make("new", 2, **sets(answered=["<old>"]))).similar


def test_titles_count_for_the_series_and_for_its_patches() -> None:
    assert strength(make("new", 2, title=OLD.title)).titles == 1
    assert strength(make("new", 2, titles=OLD.titles)).titles == 1
    assert strength(make("new", 2, title=OLD.title, titles=OLD.titles)).titles == 2


def same_work(new: Posting, old: Posting = OLD) -> bool:
    return is_same_work(new, old, find_evidence(new, old))


def test_one_work_is_stated_or_has_patches_or_title_in_common() -> None:
    assert same_work(make("new", 2, **sets(superseded=["<old>"])))
    assert same_work(make("new", 2, hashes=OLD.hashes))
    assert same_work(make("new", 2, title=OLD.title, files=OLD.files))
    assert same_work(make("new", 2, title=OLD.title, titles=OLD.titles))
    assert not same_work(make("new", 2, files=OLD.files)), "a file is not enough"


def test_parts_of_one_work_for_two_projects_are_two_works() -> None:
    """Their covers have one title, and they have no patch title and no file in common."""
    assert not same_work(make("new", 2, title=OLD.title))
    assert same_work(make("new", 2, title=OLD.title, files=frozenset())), "unknown files"
    assert same_work(make("new", 2, title=OLD.title), replace(OLD, files=frozenset()))


def test_the_same_content_is_a_patch_or_half_of_the_titles() -> None:
    assert has_same_content(make("new", 2, hashes=OLD.hashes), OLD)
    assert has_same_content(make("new", 2, titles=OLD.titles), OLD)
    assert not has_same_content(make("new", 2, title=OLD.title), OLD)


# --- what is enough ------------------------------------------------------------------------------


def test_another_sender_needs_the_thread_and_the_content() -> None:
    by_bob = {"sender": BOB}
    below = sets(answered=["<old>"])
    assert not links(make("new", 2, **by_bob, **below))
    assert not links(make("new", 2, **by_bob, hashes=OLD.hashes))
    assert links(make("new", 2, **by_bob, **below, hashes=OLD.hashes))
    assert links(make("new", 2, **by_bob, **below, titles=OLD.titles))
    assert links(make("new", 2, **by_bob, hashes=OLD.hashes, title=OLD.title)), "two kinds"


def test_a_reply_with_a_higher_number_continues() -> None:
    below = sets(answered=["<old>"])
    assert links(make("new", 2, **below))
    assert not links(make("new", 1, **below)), "it may help to review the other"
    assert links(make("new", 1, partial=True, **below))


def test_a_number_of_the_same_version_continues_with_something_in_common() -> None:
    below = sets(answered=["<old>"])
    assert links(make("new", 1, files=OLD.files, **below))
    assert links(make("new", 1, lines=OLD.lines, **below))
    assert links(make("new", 1, title=f"{OLD.title} again and again", **below))
    few_files = replace(OLD, files=frozenset({1, 2, 3, 4}))
    assert not links(make("new", 1, **sets(files=[1, 7, 8, 9]), **below), few_files)


def test_patches_below_an_rfc_do_not_continue_it() -> None:
    rfc = replace(OLD, rfc=True)
    below = sets(answered=["<old>"])
    assert not links(make("new", 2, **below), rfc)
    assert links(make("new", 2, files=rfc.files, **below), rfc)
    both = make("new", 2, rfc=True, **below)
    assert links(both, rfc)


def test_a_next_version_that_kept_a_patch_and_most_files() -> None:
    old = replace(OLD, hashes=frozenset("abcd"), files=frozenset({1, 2, 3, 4}))
    kept = sets(hashes="axyz", files=[1, 2, 8, 9])
    assert links(make("new", 2, **kept), old)
    assert not links(make("new", 3, **kept), old), "not the next version"
    assert not links(make("new", 2, **sets(files=[1, 2, 8, 9])), old), "no patch"
    assert not links(make("new", 2, **sets(hashes="axyz", files=[1, 7, 8, 9])), old), "few files"


SHARED_WORDS = "fs: keep the old lock while the inode grows"


@pytest.mark.parametrize(
    ("title", "is_similar"),
    [
        ("fs: keep the lock while the inode grows", True),
        ("fs: keep the old lock while an inode shrinks", True),
        ("fs: keep nothing of that at all", False),
        ("mm: keep the old lock while the inode grows", True),  # another subsystem
        ("fs: xfs: keep the old lock while the inode grows", True),
    ],
)
def test_most_words_of_a_title(title: str, is_similar: bool) -> None:
    old = replace(OLD, **named(SHARED_WORDS))  # type: ignore[arg-type]
    bare = title.rpartition(": ")[2]
    new = replace(make("new", 2, **named(title)), bare_title=bare)
    assert (RevisionEvidence.SIMILAR_TITLE in kinds(new, old)) == is_similar


def test_words_in_other_order_need_the_files() -> None:
    """The first word differs: without most of the files they are two changes."""
    old = replace(OLD, **named("keep the old lock while it grows"))  # type: ignore[arg-type]
    new = make("new", 2, **named("always keep the old lock while it grows"))
    assert kinds(new, old) == set()
    assert RevisionEvidence.SIMILAR_TITLE in kinds(replace(new, files=old.files), old)


def test_one_bare_word_is_not_enough() -> None:
    old = replace(OLD, title="fs: typos", bare_title="typos", titles=frozenset())
    new = make("new", 2, title="mm: typos", bare_title="typos", titles=frozenset())
    assert kinds(new, old) == set()


def test_a_similar_title_holds_for_a_quarter_of_a_year() -> None:
    title = f"{OLD.title} too"
    assert OLD.date is not None
    soon = make("new", 2, title=title, date=OLD.date + 90 * DAY)
    assert RevisionEvidence.SIMILAR_TITLE in kinds(soon)
    assert kinds(replace(soon, date=OLD.date + 91 * DAY)) == set()
    assert kinds(replace(soon, date=None)) == set()
    assert kinds(soon, replace(OLD, date=None)) == set()
    assert kinds(replace(soon, version=(3, 0))) == set()
    assert kinds(replace(soon, sender=BOB)) == set()


def test_a_similar_title_needs_support() -> None:
    title = {"title": f"{OLD.title} too"}
    assert not links(make("new", 2, **title)), "neither a file nor a line"
    assert links(make("new", 2, **title, files=OLD.files)), "the same words, and one more"
    old = replace(OLD, **named("fs: keep the old lock while it grows"))  # type: ignore[arg-type]
    other_words = named("fs: keep the old lock while it shrinks")
    assert RevisionEvidence.SIMILAR_TITLE in kinds(make("new", 2, **other_words), old)
    assert not links(make("new", 2, **other_words, files=old.files), old), "no line in common"
    assert links(make("new", 2, **other_words, lines=old.lines), old)
    one_line = sets(lines=[*sorted(old.lines)[:1], *range(7)])
    assert links(make("new", 2, **other_words, **one_line, files=old.files), old)
    two_files = replace(old, files=frozenset({1, 2}))
    assert links(make("new", 2, **other_words, **sets(files=[1, 2])), two_files)
    too_few_to_tell = sets(lines=[1, 2, 3])
    assert links(make("new", 2, **other_words, **too_few_to_tell, files=old.files), old)
