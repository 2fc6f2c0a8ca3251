"""Find the series that a series supersedes, and the evidence for it.

Input: a series and those that may be its earlier revisions, as `Posting`s. Output: a
`RevisionLink` with its evidence, or None. Pure and local: the result depends on the series and
on the series that share a *trace* with it (a change-id, a linked message, a title, a patch). So
the store finds candidates by trace and never walks a chain of revisions.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from ingest.frozen import frozen
from ingest.series.draft import Version, branches_of
from ingest.series.facts import Facts, MessageKind, digest63

# How long a sender may take for the next version of a patch with another title.
_NEXT_VERSION = timedelta(days=90)

_NO_WORD = re.compile(r"[^0-9a-z]+")
_VERSION_WORD = re.compile(r"v\d+")
_MAX_TITLE = 500  # characters of a title that are compared

# The SHA-1 of nothing: Patchwork's hash of a pure rename.
_EMPTY_HASH = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


class RevisionEvidence(StrEnum):
    """What links two revisions, the strongest first. Stored and shown: add, do not rename."""

    SUPERSEDES = "supersedes"  # its text says that it supersedes a message of the earlier one
    CHANGE_ID = "change-id"  # b4 keeps one through all revisions
    LINK = "link"  # its text links to a message of the earlier one
    IN_REPLY_TO = "in-reply-to"  # it was sent into the earlier one's thread
    PATCHES = "patches"  # patches with the same diff
    PATCH_TITLES = "patch-titles"  # patches with the same title, by the same sender
    TITLE = "title"  # the same title, by the same sender
    SIMILAR_TITLE = "similar-title"  # most words of the title, by the same sender, next version


# A kind of evidence, and its value for people to read.
Evidence = tuple[tuple[RevisionEvidence, str], ...]


@frozen(kw_only=True)
class Posting:
    """Hold what linking revisions needs of a series.

    `titles` and `hashes`: of its patches; `messages`: all its Message-IDs; `linked`: ids that
    its text calls earlier; `labelled`: those of them that it calls so as in a list of versions
    (`v1: URL`), not only in prose; `superseded`: those that its sender's text says it supersedes;
    `replaced`: those of them that its cover, or its first patch, names; `answered`: ids that it
    was sent below; `retitled`: its title is that of the mail that it answers (`Re: …`);
    `branches`: the branches that it is for, since series for 6.1 and for 6.6 are not revisions of
    each other.
    """

    key: str
    sender: str
    version: Version
    date: datetime | None
    title: str
    resend: bool
    rfc: bool
    partial: bool
    retitled: bool
    branches: frozenset[str]
    change_ids: frozenset[str]
    hashes: frozenset[str]
    titles: frozenset[str]
    messages: frozenset[str]
    linked: frozenset[str]
    answered: frozenset[str]
    labelled: frozenset[str] = frozenset()
    superseded: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()


@frozen
class RevisionLink:
    """Hold the key of the series superseded, and the evidence, the strongest first."""

    key: str
    evidence: Evidence


def make_posting(
    key: str,
    *,
    version: Version,
    date: datetime | None,
    partial: bool,
    parent_series: str | None,
    members: Sequence[Facts],
) -> Posting:
    """Make a posting from the facts of its members: the cover first, then patches by number."""
    first = members[0]
    patches = [piece for piece in members if piece.kind is MessageKind.PATCH]
    answered = {*first.parents[:3], *([parent_series.partition("#")[0]] if parent_series else ())}
    own = [piece for piece in members if piece.sender == first.sender]
    messages = frozenset(msgid for piece in members for msgid in (piece.msgid, *piece.aliases))
    return Posting(
        key=key,
        sender=first.sender,
        version=version,
        date=date,
        title=normalise_title(first.title),
        resend=first.resend,
        rfc=any(piece.rfc for piece in members),
        partial=partial,
        retitled=first.reply,
        branches=frozenset(branch for piece in members for branch in branches_of(piece.tag)),
        change_ids=frozenset(piece.change_id for piece in members if piece.change_id),
        hashes=frozenset(piece.hash for piece in patches if piece.hash),
        titles=frozenset(normalise_title(piece.title) for piece in patches) - {""},
        messages=messages,
        linked=frozenset(msgid for piece in members for msgid in piece.earlier) - messages,
        answered=frozenset(answered) - messages,
        labelled=frozenset(
            msgid for piece in own for msgid in {*piece.earlier} - {*piece.mentioned}
        )
        - messages,
        superseded=frozenset(msgid for piece in own for msgid in piece.supersedes) - messages,
        replaced=frozenset(first.supersedes) - messages,
    )


# --- traces ---------------------------------------------------------------------------------
#
# Two series may be revisions of each other only if they share a trace. The letter in front of
# the text keeps the kinds apart. A change of the text or of its letter needs `ingest reparse`.


def traces(posting: Posting) -> frozenset[int]:
    """Return the traces of a series, as 63-bit numbers."""
    return frozenset(
        (
            *(change_id_trace(change_id) for change_id in posting.change_ids),
            *_message_traces((*posting.messages, *posting.linked, *posting.answered)),
            *(_hash_trace(hash_) for hash_ in posting.hashes),
            *(
                _title_trace(posting.sender, title)
                for title in {*posting.titles, posting.title}
                if title
            ),
            *(digest63(f"w {posting.sender} {word}") for word in _telling_words(posting.title)),
        )
    )


def patch_traces(facts: Facts) -> frozenset[int]:
    """Return the traces that one more patch, after others, adds to those of its series."""
    title = normalise_title(facts.title)
    return frozenset(
        (
            *_message_traces((facts.msgid, *facts.earlier)),
            *((change_id_trace(facts.change_id),) if facts.change_id else ()),
            *((_hash_trace(facts.hash),) if facts.hash else ()),
            *((_title_trace(facts.sender, title),) if title else ()),
        )
    )


def change_id_trace(change_id: str) -> int:
    """Return the trace of a change-id, by which the store finds the series that have it."""
    return digest63(f"c {change_id}")


def _message_traces(msgids: Iterable[str]) -> Iterator[int]:
    return (digest63(f"m {msgid}") for msgid in msgids)


def _hash_trace(hash_: str) -> int:
    return digest63(f"h {hash_}")


def _title_trace(sender: str, title: str) -> int:
    return digest63(f"t {sender} {title}")


def _telling_words(title: str) -> list[str]:
    """Return the three longest words after the first, which names the subsystem.

    Similar titles share one of these words, and few other titles by the same sender do.
    """
    words = set(title.split()[1:])
    return sorted(words, key=lambda word: (-len(word), word))[:3]


# --- links ----------------------------------------------------------------------------------


def find_predecessor(posting: Posting, candidates: Iterable[Posting]) -> RevisionLink | None:
    """Return the series that a posting supersedes, or None.

    Of the candidates that evidence links to it, the one that its cover says it supersedes is
    chosen, else the one with the highest version before its own, then the latest. A whole series
    does not supersede a partial re-roll where there is another candidate: it supersedes the
    series that the partial re-roll amends. A single patch that supersedes a patch of one of the
    candidates is such a re-roll, though it was sent elsewhere.
    """
    linked: list[tuple[Posting, Evidence]] = []
    for other in candidates:
        if other.key == posting.key or _is_later(other, posting):
            continue
        if posting.branches != other.branches and not _states(posting, other):
            continue
        evidence = _evidence(posting, other)
        if _is_sufficient(posting, other, evidence) and _precedes(other, posting, evidence):
            linked.append((other, evidence))
    if not linked:
        return None
    inner = {msgid for other, _ in linked for msgid in other.messages - {other.key}}
    amending = {
        other.key
        for other, _ in linked
        if other.partial or (len(other.messages) == 1 and other.superseded & inner)
    }
    best, evidence = max(
        linked,
        key=lambda pair: (
            posting.sender == pair[0].sender and bool(posting.replaced & pair[0].messages),
            posting.partial or pair[0].key not in amending,
            pair[0].rfc == posting.rfc,
            pair[0].version,
            pair[0].date or datetime.min,
            pair[0].key,
        ),
    )
    return RevisionLink(best.key, evidence)


def same_changes(patches: Sequence[Facts], others: Sequence[Facts]) -> list[tuple[str, str]]:
    """Return the pairs of keys of two neighbouring revisions that are the same change.

    Two patches are the same change where they have the same diff, else where they have the same
    title. Each patch is in one pair at most.
    """
    pairs: list[tuple[str, str]] = []
    paired: set[str] = set()
    for identify in (_diff_identity, _title_identity):
        waiting: dict[str, deque[str]] = defaultdict(deque)
        for other in others:
            if other.key not in paired and (identity := identify(other)) is not None:
                waiting[identity].append(other.key)
        for patch in patches:
            identity = identify(patch) if patch.key not in paired else None
            if identity is not None and waiting[identity]:
                match = waiting[identity].popleft()
                pairs.append((patch.key, match))
                paired |= {patch.key, match}
    return pairs


def _diff_identity(facts: Facts) -> str | None:
    return facts.hash if facts.hash != _EMPTY_HASH else None


def _title_identity(facts: Facts) -> str | None:
    return normalise_title(facts.title) or None


# Shared by threads: the cache has a lock of its own. A title is compared several times.
@lru_cache(maxsize=4096)
def normalise_title(title: str) -> str:
    """Return a title as revisions are compared: letters and digits, without a final version."""
    words = _NO_WORD.split(title.lower())
    while words and (not words[-1] or _VERSION_WORD.fullmatch(words[-1])):
        words.pop()
    return " ".join(word for word in words if word)[:_MAX_TITLE]


def _states(posting: Posting, other: Posting) -> bool:
    """Tell whether a posting says that it supersedes another one by the same person."""
    return posting.sender == other.sender and bool(posting.superseded & other.messages)


def _is_later(other: Posting, posting: Posting) -> bool:
    return posting.date is not None and other.date is not None and other.date > posting.date


def _evidence(posting: Posting, other: Posting) -> Evidence:
    """Return all evidence that `other` is an earlier revision of `posting`."""
    evidence: list[tuple[RevisionEvidence, str]] = []
    if stated := posting.superseded & other.messages:
        evidence.append((RevisionEvidence.SUPERSEDES, min(stated)))
    if shared := posting.change_ids & other.change_ids:
        evidence.append((RevisionEvidence.CHANGE_ID, min(shared)))
    if shared := (posting.linked & other.messages) - stated:
        evidence.append((RevisionEvidence.LINK, min(shared)))
    if shared := posting.answered & other.messages:
        evidence.append((RevisionEvidence.IN_REPLY_TO, min(shared)))
    if shared := _same_hashes(posting, other):
        evidence.append((RevisionEvidence.PATCHES, f"{len(shared)} of {len(posting.hashes)}"))
    if shared := _same_titles(posting, other):
        evidence.append((RevisionEvidence.PATCH_TITLES, f"{len(shared)} of {len(posting.titles)}"))
    if posting.title and posting.title == other.title and _chose_titles(posting, other):
        evidence.append((RevisionEvidence.TITLE, posting.title))
    elif _has_similar_title(posting, other):
        evidence.append((RevisionEvidence.SIMILAR_TITLE, other.title))
    return tuple(evidence)


def _has_similar_title(posting: Posting, other: Posting) -> bool:
    """Tell whether most words of the two titles agree, from one version to the next."""
    words, others = set(posting.title.split()), set(other.title.split())
    return (
        posting.sender == other.sender
        and posting.version[0] == other.version[0] + 1
        and posting.title.partition(" ")[0] == other.title.partition(" ")[0]
        and len(words & others) * 3 >= len(words | others) * 2 - 1
        and posting.date is not None
        and other.date is not None
        and posting.date - other.date <= _NEXT_VERSION
    )


def _is_sufficient(posting: Posting, other: Posting, evidence: Evidence) -> bool:
    """Tell whether the evidence makes a link.

    By the same sender a title is enough. People also take over the series of others, but then
    two kinds of evidence are needed.
    """
    kinds = {kind for kind, _ in evidence}
    if RevisionEvidence.CHANGE_ID in kinds:
        return True
    has_same_content = bool(
        kinds & {RevisionEvidence.PATCHES, RevisionEvidence.TITLE}
    ) or _shares_half_of_titles(posting, other)
    if posting.sender == other.sender:
        sufficient = {
            RevisionEvidence.SUPERSEDES,
            RevisionEvidence.LINK,
            RevisionEvidence.IN_REPLY_TO,
            RevisionEvidence.SIMILAR_TITLE,
        }
        if posting.version[0] == other.version[0] + 1:
            sufficient.add(RevisionEvidence.PATCH_TITLES)
        return has_same_content or bool(kinds & sufficient)
    is_linked = bool(
        kinds & {RevisionEvidence.SUPERSEDES, RevisionEvidence.LINK, RevisionEvidence.IN_REPLY_TO}
    )
    return (is_linked and has_same_content) or {
        RevisionEvidence.PATCHES,
        RevisionEvidence.TITLE,
    } <= kinds


def _same_hashes(posting: Posting, other: Posting) -> frozenset[str]:
    return (posting.hashes & other.hashes) - {_EMPTY_HASH}


def _shares_half_of_titles(posting: Posting, other: Posting) -> bool:
    least = min(len(posting.titles), len(other.titles))
    return least > 0 and 2 * len(_same_titles(posting, other)) >= least


def _same_titles(posting: Posting, other: Posting) -> frozenset[str]:
    return posting.titles & other.titles if _chose_titles(posting, other) else frozenset()


def _chose_titles(posting: Posting, other: Posting) -> bool:
    """Tell whether both senders chose their titles.

    A patch that somebody sends in a reply has the title of the patch that it answers, and is
    another patch. In the sender's own reply it may be the same patch, corrected.
    """
    return posting.sender == other.sender or not (posting.retitled or other.retitled)


def _is_sent_before(other: Posting, posting: Posting) -> bool:
    """Tell whether `other` was sent before.

    Of two with the same date, the RFC or the lower version is the earlier. All links go to an
    earlier posting in this order, so that no chain of dated revisions is a circle.
    """
    if posting.date is None or other.date is None:
        return False
    return (other.date, not other.rfc, other.version, other.key) < (
        posting.date,
        not posting.rfc,
        posting.version,
        posting.key,
    )


def _is_listed(other: Posting, posting: Posting) -> bool:
    """Tell whether a posting lists another by its sender as an earlier version, which it can be."""
    return (
        posting.sender == other.sender
        and bool(posting.labelled & other.messages)
        and other.version <= posting.version
        and _is_sent_before(other, posting)
    )


def _precedes(other: Posting, posting: Posting, evidence: Evidence) -> bool:
    """Tell whether `other` is the earlier version.

    An RFC precedes a posting that is none; else the lower version precedes; and the same
    version precedes its resend, or a posting that was sent again into its thread. A posting
    whose text says that it is superseded precedes whatever the versions, if it was sent before:
    of two that supersede each other, the later one does. So does a posting that a list of
    versions has, by a sender who forgot to count, or to write RFC on the first version.
    """
    if _is_sent_before(other, posting) and any(
        kind is RevisionEvidence.SUPERSEDES for kind, _ in evidence
    ):
        return True
    if _is_listed(other, posting):
        return True
    if other.rfc and not posting.rfc:
        return True
    if posting.rfc and not other.rfc:
        return False
    if other.version != posting.version:
        return other.version < posting.version
    if posting.date is None or other.date is None:
        return False
    if (other.date, other.key) >= (posting.date, posting.key):
        return False
    was_sent_again = (
        posting.resend
        or posting.partial
        or any(kind is RevisionEvidence.IN_REPLY_TO for kind, _ in evidence)
    )
    has_same_content = bool(_same_hashes(posting, other)) or _shares_half_of_titles(posting, other)
    return was_sent_again and (has_same_content or posting.partial)
