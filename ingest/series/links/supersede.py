"""Find the series that a series supersedes, and the evidence for it.

Input: a series and those that may be its earlier revisions, as `Posting`s. Output: a
`RevisionLink` with its evidence, or None. Pure and local: the result depends on the series and
on the series that share a trace with it (`posting.traces`). So the store finds candidates by
trace and never walks a chain of revisions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ingest.frozen import frozen
from ingest.series.links.evidence import (
    LinkEvidence,
    RevisionEvidence,
    find_evidence,
    has_same_content,
    is_same_work,
    is_sufficient,
    weigh,
)
from ingest.series.links.posting import Posting

# How wrong the clock of a sender may be whose numbers tell the order.
_CLOCK_ERROR = timedelta(minutes=30)
# The mails of one sending follow each other within this; nobody writes a new version so fast.
_ONE_SENDING = timedelta(minutes=1)


@frozen
class RevisionLink:
    """Hold the key of the series superseded, and the evidence, the strongest first."""

    key: str
    evidence: LinkEvidence


@frozen
class _Candidate:
    """A posting that may be an earlier revision, with the evidence for it."""

    posting: Posting
    evidence: LinkEvidence


def find_predecessor(posting: Posting, candidates: Iterable[Posting]) -> RevisionLink | None:
    """Return the series that a posting supersedes, or None.

    Of the candidates that evidence links to it, the one with the strongest evidence is chosen,
    then the one with the highest version, then the latest. If that one has been superseded by
    another candidate, which is certainly a version of the same work, that is chosen: a cover
    links to its v1, and v2 has the same title. A candidate that the posting says it supersedes
    is chosen whatever there is.

    A whole series does not supersede a partial re-roll, or a stray of the same run, where there
    is another candidate: it supersedes the series that these belong to. A single patch that
    supersedes a patch of one of the candidates is such a re-roll, though it was sent elsewhere.

    Whether a candidate is linked depends on the two alone, and the choice on those that are: so
    the candidates that would not be chosen alone may be left out.
    """
    linked = [
        candidate
        for other in candidates
        if (candidate := _find_candidate(posting, other)) is not None
    ]
    if not linked:
        return None
    postings = [candidate.posting for candidate in linked]
    amending = _find_amending(postings)
    latest = max(
        (other for other in postings if not other.rfc and other.date is not None),
        key=lambda other: (other.date, other.key),
        default=None,
    )

    def rank(candidate: _Candidate) -> tuple[object, ...]:
        other = candidate.posting
        return (
            posting.partial or other.key not in amending,
            other.rfc == posting.rfc or (latest is not None and _continues_count(other, latest)),
            other.version,
            other.date or datetime.min,
            other.key,
        )

    def strength(candidate: _Candidate) -> tuple[object, ...]:
        other = candidate.posting
        is_replaced = posting.sender == other.sender and bool(posting.replaced & other.messages)
        whole, *order = rank(candidate)
        return (is_replaced, whole, weigh(posting, other, candidate.evidence), *order)

    best = max(linked, key=strength)
    if not any(kind is RevisionEvidence.SUPERSEDES for kind, _ in best.evidence):
        later = [candidate for candidate in linked if _is_later_version(candidate, best)]
        best = max((best, *later), key=rank)
    return RevisionLink(best.posting.key, best.evidence)


def is_linked(posting: Posting, other: Posting) -> bool:
    """Tell whether a posting would supersede `other` if there were no other candidate."""
    return _find_candidate(posting, other) is not None


def _find_candidate(posting: Posting, other: Posting) -> _Candidate | None:
    """Return a posting with the evidence that it is an earlier revision, None if it is none."""
    if not _may_be_earlier(other, posting):
        return None
    evidence = find_evidence(posting, other)
    if is_sufficient(posting, other, evidence) and _precedes(other, posting, evidence):
        return _Candidate(other, evidence)
    return None


def _may_be_earlier(other: Posting, posting: Posting) -> bool:
    """Tell whether a posting may be an earlier revision by its date and its branch."""
    return (
        other.key != posting.key
        and (not _is_later(other, posting) or _has_wrong_date(other, posting))
        and _is_for_same_branch(posting, other)
    )


def _is_later_version(candidate: _Candidate, best: _Candidate) -> bool:
    """Tell whether a candidate is certainly a later version of the best one."""
    posting, other = candidate.posting, best.posting
    if posting.key == other.key or _is_later(other, posting):
        return False
    evidence = find_evidence(posting, other)
    return (
        is_sufficient(posting, other, evidence)
        and is_same_work(posting, other, evidence)
        and _precedes(other, posting, evidence)
    )


def _continues_count(rfc: Posting, latest: Posting) -> bool:
    """Tell whether an RFC has a higher version than the latest that is none, and was sent after."""
    return latest.version < rfc.version and _is_sent_before(latest, rfc)


def _find_amending(candidates: Sequence[Posting]) -> set[str]:
    """Return the keys of the candidates that amend another candidate, or strayed from it."""
    inner = {msgid for other in candidates for msgid in other.messages - {other.key}}
    holder_of = {msgid: other for other in candidates for msgid in other.messages}
    largest: dict[str, int] = defaultdict(int)  # the size of the largest posting of a run of git
    for other in candidates:
        for run in other.runs:
            largest[run] = max(largest[run], len(other.messages))
    return {
        other.key
        for other in candidates
        if other.partial
        or (len(other.messages) == 1 and other.superseded & inner)
        or any(largest[run] > len(other.messages) for run in other.runs)
        or any(
            msgid in holder_of and _is_one_sending(other, holder_of[msgid])
            for msgid in other.answered
        )
    }


# --- order ----------------------------------------------------------------------------------


def _is_later(other: Posting, posting: Posting) -> bool:
    return posting.date is not None and other.date is not None and other.date > posting.date


def _is_within(time: timedelta, posting: Posting, other: Posting) -> bool:
    """Tell whether `other` was sent after a posting, but not more than that time after it."""
    return (
        posting.date is not None
        and other.date is not None
        and timedelta(0) < other.date - posting.date <= time
    )


def _has_wrong_date(other: Posting, posting: Posting) -> bool:
    """Tell whether a posting is dated some minutes before the one that it is the next version of.

    The number of the sender outranks the clock where no text says anything else, so that no chain
    of revisions becomes a circle.
    """
    return (
        _is_within(_CLOCK_ERROR, posting, other)
        and posting.sender == other.sender
        and posting.rfc == other.rfc
        and posting.version[0] == other.version[0] + 1
        and not (posting.superseded or posting.labelled or other.superseded or other.labelled)
    )


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


def _is_one_sending(posting: Posting, other: Posting) -> bool:
    """Tell whether two postings were sent at once, by one run of git.

    A provider that replaces ids hides the run; then they have one version, and were sent within a
    minute.
    """
    if posting.sender != other.sender:
        return False
    if posting.runs and other.runs:
        return bool(posting.runs & other.runs)
    return (
        posting.version == other.version
        and posting.date is not None
        and other.date is not None
        and abs(posting.date - other.date) <= _ONE_SENDING
        and bool(posting.answered & other.messages)
        and not (posting.partial or posting.resend or posting.retitled)
    )


def _is_for_same_branch(posting: Posting, other: Posting) -> bool:
    """Tell whether two postings are for the same branch, or may be.

    The next version of the same title may drop the branch (`[PATCH 5.7 v4]`, `[PATCH v5]`). It
    may add one where it continues the count; else `[PATCH 6.1 v2]` is the second version of a
    backport, whose first one is elsewhere.
    """
    if posting.branches == other.branches or _states(posting, other):
        return True
    return (
        not (posting.branches and other.branches)
        and posting.title == other.title
        and posting.version[0] == other.version[0] + 1
        and (bool(other.branches) or other.version[0] > 1)
    )


def _states(posting: Posting, other: Posting) -> bool:
    """Tell whether a posting says that it supersedes another one by the same person."""
    return posting.sender == other.sender and bool(posting.superseded & other.messages)


def _is_listed(other: Posting, posting: Posting) -> bool:
    """Tell whether a posting lists another by its sender as an earlier version, sent before.

    A link that is only mentioned counts where the content agrees too.
    """
    if posting.sender != other.sender or not _is_sent_before(other, posting):
        return False
    if posting.labelled & other.messages:
        return True
    return bool(posting.linked & other.messages) and (
        posting.title == other.title or has_same_content(posting, other)
    )


def _precedes(other: Posting, posting: Posting, evidence: LinkEvidence) -> bool:
    """Tell whether `other` is the earlier version.

    An RFC precedes a posting that is none; else the lower version precedes, of an RFC too; and the
    same version precedes its resend, or a posting that was sent again into its thread. A posting
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
    if _is_one_sending(posting, other):
        return False
    if other.rfc and not posting.rfc:
        return True
    if posting.rfc and not other.rfc:
        # `[RFC PATCH v4]` after `[PATCH v3]`
        return other.version < posting.version and _is_sent_before(other, posting)
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
    return was_sent_again and (has_same_content(posting, other) or posting.partial)
