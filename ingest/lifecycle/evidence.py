"""Decide the state of a patch from the evidence for it, and from what people set.

Input: pieces of evidence, in any order. Output: the state that they show, with the piece that
decides. docs/states.md has the rules as a table. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from ingest.frozen import frozen

ACCEPTED = "accepted"
SUPERSEDED = "superseded"

# States that a patch still needs somebody to act on, or that say only where it waits. Any other
# state, configured ones included, ends the work on a patch.
OPEN_STATES = frozenset(
    {
        "new", "under-review", "rfc", "changes-requested", "awaiting-upstream", "deferred",
        "needs-ack", "in-next", "queued",
    }
)  # fmt: skip

# The date of evidence whose mail has none: before everything that a person set.
UNDATED = datetime(1970, 1, 1)


class EvidenceKind(StrEnum):
    """What shows a state, the strongest first. Stored, exported and shown: add, do not rename."""

    LANDED = "landed"  # a commit of a configured repository
    ANNOUNCED = "announced"  # a mail by somebody who is entitled to set states
    SUPERSEDED = "superseded"  # a later revision carries the patch
    DROPPED = "dropped"  # the series that replaces the patch's series is complete without it
    CLAIMED = "claimed"  # a mail by somebody else; shown, but it sets no state


_STRENGTH = {kind: rank for rank, kind in enumerate(EvidenceKind)}
_REVISION_KINDS = (EvidenceKind.SUPERSEDED, EvidenceKind.DROPPED)


@frozen(kw_only=True)
class Evidence:
    """One piece of evidence for the state of a patch.

    `state`: the slug of the state. `date`: when the state took effect, naive UTC. `source`: what
    shows it, unique for a patch and kind: the key of a message, or repository, ref and commit.
    `commit_ref`: the commit, where there is one. `detail`: how it shows it, for people.
    """

    kind: EvidenceKind
    state: str
    date: datetime
    source: str
    commit_ref: str | None = None
    detail: str = ""


@frozen
class DerivedState:
    """The state that evidence shows, and the piece of evidence that decides."""

    state: str
    commit_ref: str | None
    evidence: Evidence


@frozen(kw_only=True)
class ChosenState:
    """What people set on a patch: None where they did not.

    `date`: when the state was set; None means later than all evidence.
    """

    state: str | None = None
    commit_ref: str | None = None
    date: datetime | None = None


@frozen
class CurrentState:
    """The state that is shown. `since`: when it took effect, None where that is unknown."""

    state: str
    commit_ref: str | None
    since: datetime | None


def sort_evidence(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return evidence as it is shown: the strongest kind first, then by date and source."""
    return sorted(evidence, key=lambda item: (_STRENGTH[item.kind], _by_date(item)))


def _by_date(evidence: Evidence) -> tuple[object, ...]:
    """Order evidence by date, and pieces of one date by what they say: never by their arrival."""
    return (
        evidence.date,
        evidence.source,
        evidence.state,
        evidence.commit_ref or "",
        evidence.detail,
        evidence.kind,
    )


def needs_action(state: str) -> bool:
    """Tell whether a patch in this state waits for somebody."""
    return state in OPEN_STATES


def derive_state(evidence: Collection[Evidence]) -> DerivedState | None:
    """Return the state that the evidence shows, None where it shows none.

    A commit decides before all else, `accepted` before the state of another ref. Of announcements
    the latest decides, and of these and later revisions what is later, except that a later
    revision never replaces `accepted`.
    """
    landed = [item for item in evidence if item.kind is EvidenceKind.LANDED]
    if landed:
        return _decide(min(landed, key=lambda item: (item.state != ACCEPTED, _by_date(item))))
    announced = max(
        (item for item in evidence if item.kind is EvidenceKind.ANNOUNCED),
        key=_by_date,
        default=None,
    )
    revised = min(
        (item for item in evidence if item.kind in _REVISION_KINDS),
        key=lambda item: (_STRENGTH[item.kind], _by_date(item)),
        default=None,
    )
    if announced is None:
        return _decide(revised) if revised is not None else None
    if revised is None or announced.state == ACCEPTED:
        return _decide(announced)
    latest = max(item.date for item in evidence if item.kind in _REVISION_KINDS)
    return _decide(announced if announced.date >= latest else revised)


def _decide(evidence: Evidence) -> DerivedState:
    return DerivedState(evidence.state, evidence.commit_ref, evidence)


def combine_states(
    mail_state: str, chosen: ChosenState, evidence: Collection[Evidence]
) -> CurrentState:
    """Return the state to show: what a person set or what the evidence shows, whichever is later.

    `mail_state`: what the patch's own mail says, which any of them replaces. A state that a person
    set and that needs no further action remains.
    """
    if chosen.state is not None and is_chosen(chosen, evidence):
        commit_ref = chosen.commit_ref
        shown = derive_state(evidence)
        if commit_ref is None and shown is not None and shown.state == chosen.state:
            commit_ref = shown.commit_ref
        return CurrentState(chosen.state, commit_ref, chosen.date)
    derived = derive_state(_later(evidence, chosen))
    if derived is None:
        return CurrentState(mail_state, chosen.commit_ref, None)
    commit_ref = chosen.commit_ref or derived.commit_ref
    return CurrentState(derived.state, commit_ref, derived.evidence.date)


def is_chosen(chosen: ChosenState, evidence: Collection[Evidence]) -> bool:
    """Tell whether the state to show is the one that a person set."""
    if chosen.state is None:
        return False
    return not needs_action(chosen.state) or derive_state(_later(evidence, chosen)) is None


def _later(evidence: Collection[Evidence], chosen: ChosenState) -> Collection[Evidence]:
    """Return the evidence that is later than what a person set."""
    if chosen.state is None:
        return evidence
    if chosen.date is None:
        return ()
    return [item for item in evidence if item.date > chosen.date]


def format_evidence(evidence: Evidence) -> str:
    """Return a piece of evidence for people, to follow its state."""
    detail = f" ({evidence.detail})" if evidence.detail else ""
    match evidence.kind:
        case EvidenceKind.LANDED:
            return f"commit {evidence.commit_ref} in {evidence.source}{detail}"
        case EvidenceKind.ANNOUNCED:
            return f"announced in {evidence.source}{detail}"
        case EvidenceKind.CLAIMED:
            return f"claimed in {evidence.source}{detail}"
        case EvidenceKind.SUPERSEDED:
            return f"by {evidence.source}{detail}"
        case EvidenceKind.DROPPED:
            return f"{evidence.detail}: {evidence.source}"
        case _:
            assert_never(evidence.kind)


def label_state(state: str, evidence: Collection[Evidence]) -> str:
    """Return the state of a patch as lists show it: that of a dropped one with where it was."""
    derived = derive_state(evidence)
    if derived is None or derived.state != state:
        return state
    is_dropped = derived.evidence.kind is EvidenceKind.DROPPED
    return f"{state}, {derived.evidence.detail}" if is_dropped else state
