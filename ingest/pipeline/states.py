"""Derive the states of patches that are all known, without a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ingest.lifecycle.evidence import Evidence
from ingest.lifecycle.revisions import KnownRevisions, Revision, find_later
from ingest.lifecycle.superseded import superseding_evidence
from ingest.model import Derived
from ingest.series.arrange import Series
from ingest.series.links.posting import make_posting


def find_superseded_patches(
    series: Iterable[Series], derived: Mapping[str, Derived]
) -> dict[str, list[Evidence]]:
    """Return the evidence that patches are superseded by others of these series, by key. Pure.

    `derived`: what was derived from the mail of each member, by key.
    """

    def read_diffs(keys: Iterable[str]) -> dict[str, str | None]:
        return {key: derived[key].diff for key in keys}

    revisions = [_revision(item, derived) for item in series]
    links = KnownRevisions(revisions)
    evidence: dict[str, list[Evidence]] = {}
    for revision in revisions:
        later = find_later(links, revision.posting.key)
        evidence |= superseding_evidence(revision, list(later.values()), read_diffs)
    return evidence


def _revision(series: Series, derived: Mapping[str, Derived]) -> Revision:
    members = [derived[member.key].facts for member in series.members]
    return Revision(
        posting=make_posting(
            series.key,
            version=(series.version, series.version_minor),
            date=series.date,
            partial=series.partial,
            parent_series=series.parent_series,
            members=members,
        ),
        patches=tuple(
            facts
            for facts, member in zip(members, series.members, strict=True)
            if member.number is not None
        ),
        total=series.total,
        is_complete=series.received_all,
    )
