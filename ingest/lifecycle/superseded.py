"""Find the patches that later revisions supersede, and how these carry each of them.

Input: a series, and its later revisions (`lifecycle.revisions`). Output: the evidence for each of
its patches. A later revision supersedes the patches that it carries, and those that it dropped:
they are missing from it though it is complete and replaces the whole series. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.lifecycle.evidence import SUPERSEDED, UNDATED, Evidence, EvidenceKind
from ingest.lifecycle.patch_match import Match, ReadDiffs, match_patches
from ingest.lifecycle.revisions import LaterRevision, Revision


def superseding_evidence(
    series: Revision, later: Sequence[LaterRevision], read_diffs: ReadDiffs
) -> dict[str, list[Evidence]]:
    """Return the evidence that later revisions supersede patches of a series, by patch.

    For each patch, the nearest revision that carries it decides; if none does, the nearest one
    that dropped it.
    """
    evidence: dict[str, list[Evidence]] = {}
    dropped: dict[str, Evidence] = {}
    for revision in sorted(later, key=_nearest_first):
        remaining = [patch for patch in series.patches if patch.key not in evidence]
        if not remaining:
            break
        matches = match_revisions(series, revision.revision, read_diffs)
        for patch in remaining:
            if (match := matches.get(patch.key)) is not None:
                evidence[patch.key] = [_carried(match, revision.revision)]
        if _drops_others(series, revision, len(matches)):
            for patch in remaining:
                if patch.key not in evidence:
                    dropped.setdefault(patch.key, _dropped(revision.revision))
    for key, item in dropped.items():
        evidence.setdefault(key, [item])
    return evidence


def match_revisions(earlier: Revision, later: Revision, read_diffs: ReadDiffs) -> dict[str, Match]:
    """Return which patch of a later revision carries each patch of the earlier one, by key.

    If both have one patch, it is the same patch, whatever its title and its diff: the revision link
    says so.
    """
    matches = match_patches(
        earlier.patches, later.patches, is_partial=later.posting.partial, read_diffs=read_diffs
    )
    if not matches and len(earlier.patches) == len(later.patches) == 1:
        (patch,), (other,) = earlier.patches, later.patches
        if earlier.total == later.total == 1:
            return {patch.key: Match(other, "the only patch of both")}
    return matches


def _nearest_first(later: LaterRevision) -> tuple[object, ...]:
    posting = later.revision.posting
    return (later.distance, posting.date or UNDATED, posting.version, posting.key)


def _drops_others(series: Revision, later: LaterRevision, carried: int) -> bool:
    """Tell whether the patches that a later revision does not carry were dropped."""
    if not later.revision.is_complete or not later.revision.patches:
        return False
    replacement = later.replacement
    carries_half = 2 * carried >= len(series.patches)
    return replacement.is_of_whole or (replacement.may_be_of_whole and carries_half)


def _carried(match: Match, revision: Revision) -> Evidence:
    facts = match.patch
    return Evidence(
        kind=EvidenceKind.SUPERSEDED,
        state=SUPERSEDED,
        date=facts.date or revision.posting.date or UNDATED,
        source=facts.key,
        detail=f"{_name_version(revision)}: {match.how}",
    )


def _dropped(revision: Revision) -> Evidence:
    return Evidence(
        kind=EvidenceKind.DROPPED,
        state=SUPERSEDED,
        date=revision.posting.date or UNDATED,
        source=revision.posting.key,
        detail=f"dropped in {_name_version(revision)}",
    )


def _name_version(revision: Revision) -> str:
    """Return how people name a revision: v3, v2.1, or v1 resent."""
    major, minor = revision.posting.version
    name = f"v{major}.{minor}" if minor else f"v{major}"
    return f"{name} (resend)" if revision.posting.resend else name
