"""Find the later revisions of a series, and how much of it each of them replaces.

Input: series, and which of them supersede which (`series.links.supersede`). Output: for a series,
those that may supersede its patches. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from ingest.frozen import frozen
from ingest.series.facts import Facts
from ingest.series.links.evidence import RevisionEvidence
from ingest.series.links.posting import Posting, traces
from ingest.series.links.supersede import find_predecessor

# Evidence that a series is the next version of another one as a whole, and not only of some of
# its patches.
_OF_THE_WHOLE = frozenset(
    {RevisionEvidence.CHANGE_ID, RevisionEvidence.TITLE, RevisionEvidence.SIMILAR_TITLE}
)


@frozen(kw_only=True)
class Revision:
    """A series as its revisions are compared. `is_complete`: all its patches were received."""

    posting: Posting
    patches: tuple[Facts, ...]
    total: int
    is_complete: bool


@frozen
class Replacement:
    """How much of a series a later revision replaces, by the link between them.

    `is_of_whole`: the whole series; `may_be_of_whole`: the whole series, if it also carries half of
    the patches.
    """

    is_of_whole: bool
    may_be_of_whole: bool

    def through(self, other: Replacement) -> Replacement:
        """Return how much is replaced by a link after this one."""
        return Replacement(
            self.is_of_whole and other.is_of_whole, self.may_be_of_whole and other.may_be_of_whole
        )


_EVERYTHING = Replacement(is_of_whole=True, may_be_of_whole=True)
_NOTHING = Replacement(is_of_whole=False, may_be_of_whole=False)


@frozen
class LaterRevision:
    """A later revision of a series, the number of links that lead to it, and what these replace."""

    revision: Revision
    distance: int
    replacement: Replacement


# --- the later revisions of a series --------------------------------------------------------

# How many links are followed from a series to a revision that carries one of its patches. More
# than one is needed only where the revisions in between are not complete.
MAX_DISTANCE = 3

K = TypeVar("K", str, int)


class RevisionLinks(Protocol[K]):
    """Series by key, and which of them supersede which."""

    def get(self, key: K) -> Revision | None:
        """Return a series, None where there is none."""
        ...

    def earlier_of(self, key: K) -> K | None:
        """Return the series that a series supersedes."""
        ...

    def later_of(self, key: K) -> Collection[K]:
        """Return the series that supersede a series."""
        ...


def find_later(links: RevisionLinks[K], key: K) -> dict[K, LaterRevision]:
    """Return the later revisions of a series that may supersede its patches, by key.

    These are the series that supersede it and, beyond one that is incomplete or does not replace
    the whole series, those that supersede that. A series that amends another one, a partial re-roll
    or a single patch, is also superseded by the whole series that follow the one that it amends.
    """
    found: dict[K, LaterRevision] = {}
    revision = links.get(key)
    if revision is None:
        return found
    _follow(links, key, 1, _EVERYTHING, found)
    # A single patch may have been taken out of the series. It is not dropped with the others.
    replacement = _EVERYTHING if revision.posting.partial else _NOTHING
    base = key
    for _ in range(MAX_DISTANCE):
        above = find_amended(links, base)
        if above is None:
            break
        base = above
        for other_key in sorted(links.later_of(base)):
            other = links.get(other_key)
            if other is not None and _is_whole_after(other.posting, revision.posting):
                _add_later(links, other_key, base, 1, replacement, found)
    found.pop(key, None)
    return found


def find_amended(links: RevisionLinks[K], key: K) -> K | None:
    """Return the series of which a series replaces only some patches, None if it does not."""
    revision = links.get(key)
    if revision is None or (revision.total > 1 and not revision.posting.partial):
        return None
    earlier_key = links.earlier_of(key)
    earlier = links.get(earlier_key) if earlier_key is not None else None
    if earlier is None or replaces(revision, earlier).may_be_of_whole:
        return None
    return earlier_key


def _follow(
    links: RevisionLinks[K],
    key: K,
    distance: int,
    replacement: Replacement,
    found: dict[K, LaterRevision],
) -> None:
    for other_key in sorted(links.later_of(key)):
        _add_later(links, other_key, key, distance, replacement, found)


def _add_later(
    links: RevisionLinks[K],
    key: K,
    earlier_key: K,
    distance: int,
    replacement: Replacement,
    found: dict[K, LaterRevision],
) -> None:
    """Add a series by its link to an earlier one, and those that its own links lead to."""
    later, earlier = links.get(key), links.get(earlier_key)
    if later is None or earlier is None or key in found:
        return
    replacement = replacement.through(replaces(later, earlier))
    found[key] = LaterRevision(later, distance, replacement)
    if distance < MAX_DISTANCE and not (later.is_complete and replacement.is_of_whole):
        _follow(links, key, distance + 1, replacement, found)


def _is_whole_after(other: Posting, posting: Posting) -> bool:
    """Tell whether a whole series was sent after a partial re-roll of the one that it replaces."""
    return (
        not other.partial
        and other.version >= posting.version
        and other.date is not None
        and posting.date is not None
        and other.date > posting.date
    )


def replaces(later: Revision, earlier: Revision) -> Replacement:
    """Tell how much of a series the series that supersedes it replaces.

    A partial re-roll does not replace the whole series. A single patch without a cover replaces a
    series of several only where the sender says so.
    """
    posting, other = later.posting, earlier.posting
    link = find_predecessor(posting, [other])
    if link is None or posting.partial:
        return _NOTHING
    kinds = {kind for kind, _ in link.evidence}
    names_whole = posting.sender == other.sender and other.key in (
        posting.superseded | posting.labelled
    )
    if RevisionEvidence.CHANGE_ID in kinds or names_whole:
        return _EVERYTHING
    has_cover = posting.key not in {patch.key for patch in later.patches}
    if later.total == 1 and earlier.total > 1 and not has_cover:
        return _NOTHING
    was_sent_below = (
        RevisionEvidence.IN_REPLY_TO in kinds
        and posting.sender == other.sender
        and posting.version[0] == other.version[0] + 1
    )
    return Replacement(
        is_of_whole=bool(kinds & _OF_THE_WHOLE) or was_sent_below, may_be_of_whole=True
    )


class KnownRevisions:
    """The links among series that are all known, by the keys of these. For `ingest explain`."""

    def __init__(self, revisions: Iterable[Revision]) -> None:
        """Link the series. Only those that share a trace are compared."""
        self._revisions = {revision.posting.key: revision for revision in revisions}
        self._earlier: dict[str, str] = {}
        self._later: dict[str, set[str]] = defaultdict(set)
        sharing: dict[int, list[Posting]] = defaultdict(list)
        for revision in self._revisions.values():
            for trace in traces(revision.posting):
                sharing[trace].append(revision.posting)
        for key, revision in self._revisions.items():
            near = {
                other.key: other for trace in traces(revision.posting) for other in sharing[trace]
            }
            link = find_predecessor(revision.posting, near.values())
            if link is not None:
                self._earlier[key] = link.key
                self._later[link.key].add(key)

    def get(self, key: str) -> Revision | None:
        """Return a series, None where there is none."""
        return self._revisions.get(key)

    def earlier_of(self, key: str) -> str | None:
        """Return the series that a series supersedes."""
        return self._earlier.get(key)

    def later_of(self, key: str) -> Collection[str]:
        """Return the series that supersede a series."""
        return self._later[key]
