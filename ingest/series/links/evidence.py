"""Find the evidence that one series is an earlier revision of another, and weigh it.

Input: two `Posting`s. Output: the kinds of evidence between them, whether they make a link, and
how strong they are together. Which of the two is the earlier is decided in `supersede`.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from ingest.series.links.posting import Posting

# How long a sender may take for the next version of a patch with another title.
_NEXT_VERSION = timedelta(days=90)

# The part of the words of two titles that are in both.
_MOST_WORDS = 2 / 3
_HALF_OF_WORDS = 1 / 2
# Fewer changed lines than this tell nothing: that some are in common, or that none is.
_TELLING_LINES = 4


class RevisionEvidence(StrEnum):
    """What links two revisions, the strongest first. Stored and shown: add, do not rename."""

    SUPERSEDES = "supersedes"  # its text says that it supersedes a message of the earlier one
    CHANGE_ID = "change-id"  # b4 keeps one through all revisions
    LINK = "link"  # its text links to a message of the earlier one
    PATCHES = "patches"  # patches with the same diff
    PATCH_TITLES = "patch-titles"  # patches with the same title, by the same sender
    TITLE = "title"  # the same title, by the same sender
    IN_REPLY_TO = "in-reply-to"  # it was sent into the earlier one's thread, or below what that was
    SIMILAR_TITLE = "similar-title"  # most words of the title, by the same sender, next version
    # Support for the last two, which are not enough alone.
    FILES = "files"  # they change the same files
    LINES = "lines"  # they change the same lines


# A kind of evidence, and its value for people to read.
LinkEvidence = tuple[tuple[RevisionEvidence, str], ...]

_EXPLICIT = frozenset(
    (RevisionEvidence.SUPERSEDES, RevisionEvidence.CHANGE_ID, RevisionEvidence.LINK)
)
_THREADED = frozenset(
    (RevisionEvidence.SUPERSEDES, RevisionEvidence.LINK, RevisionEvidence.IN_REPLY_TO)
)


class Strength(NamedTuple):
    """How strong some evidence is; compared field by field, in the order of DESIGN."""

    explicit: bool
    same_patches: bool
    titles: int  # 2 if both the series and its patches have the same titles
    same_files: bool
    in_reply: bool
    similar: bool


def find_evidence(posting: Posting, other: Posting) -> LinkEvidence:
    """Return all evidence that `other` is an earlier revision of `posting`."""
    evidence: list[tuple[RevisionEvidence, str]] = []
    if stated := posting.superseded & other.messages:
        evidence.append((RevisionEvidence.SUPERSEDES, min(stated)))
    if shared := posting.change_ids & other.change_ids:
        evidence.append((RevisionEvidence.CHANGE_ID, min(shared)))
    if shared := (posting.linked & other.messages) - stated:
        evidence.append((RevisionEvidence.LINK, min(shared)))
    if shared := posting.hashes & other.hashes:
        evidence.append((RevisionEvidence.PATCHES, f"{len(shared)} of {len(posting.hashes)}"))
    if shared := _same_titles(posting, other):
        evidence.append((RevisionEvidence.PATCH_TITLES, f"{len(shared)} of {len(posting.titles)}"))
    if posting.title and posting.title == other.title and _chose_titles(posting, other):
        evidence.append((RevisionEvidence.TITLE, posting.title))
    is_proven = bool(evidence)
    is_similar = not is_proven and _has_similar_title(posting, other)
    answered = posting.answered & other.messages
    if is_similar and not answered:
        answered = posting.answered & other.answered
    if answered:
        evidence.append((RevisionEvidence.IN_REPLY_TO, min(answered)))
    if is_proven:
        return tuple(evidence)
    if is_similar:
        evidence.append((RevisionEvidence.SIMILAR_TITLE, other.title))
    if evidence:
        if files := posting.files & other.files:
            evidence.append((RevisionEvidence.FILES, f"{len(files)} of {len(posting.files)}"))
        lines = posting.lines & other.lines
        if len(lines) >= _TELLING_LINES and _is_half(lines, posting.lines, other.lines):
            evidence.append((RevisionEvidence.LINES, f"{len(lines)} of {len(posting.lines)}"))
    return tuple(evidence)


def is_sufficient(posting: Posting, other: Posting, evidence: LinkEvidence) -> bool:
    """Tell whether the evidence makes a link.

    By the same sender a title is enough. People also take over the series of others, but then
    two kinds of evidence are needed; and they write from another address, but then the name, the
    title and the version must agree.
    """
    kinds = {kind for kind, _ in evidence}
    if RevisionEvidence.CHANGE_ID in kinds:
        return True
    has_same_content = _has_same_patches(posting, other) or (
        RevisionEvidence.TITLE in kinds and _has_common_part(posting, other)
    )
    if posting.sender == other.sender:
        return (
            has_same_content
            or bool(kinds & _EXPLICIT)
            or (RevisionEvidence.IN_REPLY_TO in kinds and _continues(posting, other, kinds))
            or (RevisionEvidence.SIMILAR_TITLE in kinds and _is_supported(posting, other, kinds))
            or _continues_part(posting, other, kinds)
        )
    has_next_number = posting.version[0] == other.version[0] + 1 or (other.rfc and not posting.rfc)
    if _has_same_name(posting, other) and RevisionEvidence.TITLE in kinds and has_next_number:
        return True
    return (bool(kinds & _THREADED) and has_same_content) or {
        RevisionEvidence.PATCHES,
        RevisionEvidence.TITLE,
    } <= kinds


def weigh(posting: Posting, other: Posting, evidence: LinkEvidence) -> Strength:
    """Return how strong the evidence between two postings is."""
    kinds = {kind for kind, _ in evidence}
    return Strength(
        explicit=bool(kinds & _EXPLICIT),
        same_patches=_is_half(posting.hashes & other.hashes, posting.hashes, other.hashes),
        titles=(RevisionEvidence.TITLE in kinds) + _shares_half_of_titles(posting, other),
        same_files=_is_half(posting.files & other.files, posting.files, other.files),
        in_reply=RevisionEvidence.IN_REPLY_TO in kinds,
        similar=RevisionEvidence.SIMILAR_TITLE in kinds,
    )


def is_same_work(posting: Posting, other: Posting, evidence: LinkEvidence) -> bool:
    """Tell whether two postings are certainly versions of one work.

    They are where they state it or have patches in common, or the same title.
    """
    strength = weigh(posting, other, evidence)
    return (
        strength.explicit
        or strength.same_patches
        or (strength.titles > 0 and _has_common_part(posting, other))
    )


def has_same_content(posting: Posting, other: Posting) -> bool:
    """Tell whether a patch, or half of the titles, are the same."""
    return bool(posting.hashes & other.hashes) or _shares_half_of_titles(posting, other)


def _has_common_part(posting: Posting, other: Posting) -> bool:
    """Tell whether two postings have a patch title or a file in common, as far as is known.

    The parts of one work for two projects may have covers with one title, and nothing else.
    """
    return (
        not (posting.files and other.files)
        or bool(posting.files & other.files)
        or bool(_same_titles(posting, other))
    )


def _has_same_patches(posting: Posting, other: Posting) -> bool:
    """Tell whether half of the patches are the same, by diff or by title."""
    same_diffs = _is_half(posting.hashes & other.hashes, posting.hashes, other.hashes)
    return same_diffs or _shares_half_of_titles(posting, other)


def _continues(posting: Posting, other: Posting, kinds: Set[RevisionEvidence]) -> bool:
    """Tell whether a posting below another one by the same sender can be its next version.

    It may be one by its number. Where one of them is an RFC, or the number is the same, it may be
    a patch that helps to review the other: something must be the same.
    """
    if posting.partial or (posting.rfc == other.rfc and posting.version[0] > other.version[0]):
        return True
    return (
        bool(kinds & {RevisionEvidence.PATCHES, RevisionEvidence.PATCH_TITLES})
        or _is_half(posting.files & other.files, posting.files, other.files)
        or _has_like_words(posting, other, least=_HALF_OF_WORDS)
        or RevisionEvidence.LINES in kinds
    )


def _continues_part(posting: Posting, other: Posting, kinds: Set[RevisionEvidence]) -> bool:
    """Tell whether the next version has kept some patches, and most files."""
    return (
        posting.version[0] == other.version[0] + 1
        and bool(kinds & {RevisionEvidence.PATCHES, RevisionEvidence.PATCH_TITLES})
        and _is_half(posting.files & other.files, posting.files, other.files)
    )


def _is_supported(posting: Posting, other: Posting, kinds: Set[RevisionEvidence]) -> bool:
    """Tell whether a similar title comes with something in common.

    One author's small patches may look alike, so the files or the changed lines must agree. Two
    patches to one file that have no line in common are two changes, unless their titles have the
    same words, and one has more.
    """
    if RevisionEvidence.LINES in kinds:
        return True
    if RevisionEvidence.FILES not in kinds:
        return False
    words, others = set(posting.title.split()), set(other.title.split())
    is_telling = min(len(posting.lines), len(other.lines)) >= _TELLING_LINES
    return (
        not is_telling
        or bool(posting.lines & other.lines)
        or len(posting.files & other.files) > 1
        or words <= others
        or others <= words
    )


def _has_similar_title(posting: Posting, other: Posting) -> bool:
    """Tell whether most words of the two titles agree, from one version to the next."""
    return (
        posting.sender == other.sender
        and posting.version[0] == other.version[0] + 1
        and posting.date is not None
        and other.date is not None
        and posting.date - other.date <= _NEXT_VERSION
        and _has_like_words(posting, other, least=_MOST_WORDS)
    )


def _has_like_words(posting: Posting, other: Posting, *, least: float) -> bool:
    """Tell whether at least that part of the words of two titles agree.

    The subsystems that they begin with may be added, dropped or changed where all other words
    agree, or half of the files; else the first word is the same.
    """
    bare = posting.bare_title
    if bare and bare == other.bare_title and (" " in bare or posting.title == other.title):
        return True
    words, others = set(posting.title.split()), set(other.title.split())
    begins_alike = posting.title.partition(" ")[0] == other.title.partition(" ")[0]
    return (
        bool(words)
        and (begins_alike or _is_half(posting.files & other.files, posting.files, other.files))
        and len(words & others) + 1 / 3 >= least * len(words | others)
    )


def _has_same_name(posting: Posting, other: Posting) -> bool:
    return posting.sender_name != "" and posting.sender_name == other.sender_name


def _is_half(shared: Set[object], first: Set[object], second: Set[object]) -> bool:
    """Tell whether at least half of the smaller set are in both."""
    return bool(shared) and 2 * len(shared) >= min(len(first), len(second))


def _shares_half_of_titles(posting: Posting, other: Posting) -> bool:
    return _is_half(_same_titles(posting, other), posting.titles, other.titles)


def _same_titles(posting: Posting, other: Posting) -> frozenset[str]:
    return posting.titles & other.titles if _chose_titles(posting, other) else frozenset()


def _chose_titles(posting: Posting, other: Posting) -> bool:
    """Tell whether both senders chose their titles.

    A patch that somebody sends in a reply has the title of the patch that it answers, and is
    another patch. In the sender's own reply it may be the same patch, corrected.
    """
    return posting.sender == other.sender or not (posting.retitled or other.retitled)
