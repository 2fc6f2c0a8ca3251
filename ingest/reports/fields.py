"""Format the fields of records as the export shows them, for everything else that shows records."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what shows one record need not import what writes the export
    from datetime import datetime

    from ingest.lifecycle.evidence import Evidence
    from ingest.store.read.dependencies import DependencyEdge


def format_date(date: datetime | None) -> str | None:
    """Return a time as records show it: UTC, ISO 8601, seconds, without offset."""
    return date.isoformat(timespec="seconds") if date is not None else None


def join_minor(number: int | None, minor: int) -> int | float | None:
    """Return a number with its minor part: 3, or 0.5 for a patch inserted after 0."""
    return float(f"{number}.{minor}") if number is not None and minor else number


def dependency_json(edge: DependencyEdge) -> dict[str, str | None]:
    """Return a dependency as records show it."""
    return {"kind": edge.kind, "target": edge.target, "found": edge.resolved}


def evidence_json(evidence: Evidence) -> dict[str, str | None]:
    """Return a piece of evidence for the state of a patch as records show it."""
    return {
        "kind": evidence.kind,
        "state": evidence.state,
        "date": format_date(evidence.date),
        "source": evidence.source,
        "commit_ref": evidence.commit_ref,
        "detail": evidence.detail,
    }
