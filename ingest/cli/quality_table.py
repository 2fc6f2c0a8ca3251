"""Format what `ingest check --series` prints: how well series are put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.cli.terminal import escape_line
from ingest.reports.fields import join_minor
from ingest.reports.quality import IncompleteReason, Quality
from ingest.store.read.series import SeriesRow

_MAX_MISSING = 10  # numbers to print


def quality_text(quality: Quality) -> Iterator[str]:
    """Return lines for people: counts, then the incomplete and doubtful series by Message-ID."""
    incomplete = len(quality.incomplete)
    partial = f"{quality.partial} partial re-rolls"
    yield f"{quality.total} series: {quality.complete} complete, {incomplete} incomplete, {partial}"
    yield f"{quality.linked} of {quality.later} later versions are linked to the one before"
    yield ""
    yield "Messages by the rule that placed them in their series:"
    for rule, count in sorted(quality.rules.items(), key=lambda item: (-item[1], item[0])):
        yield f"  {count:>7}  {rule}"
    for reason in IncompleteReason:
        yield from _incomplete_text(quality, reason)
    yield ""
    yield f"Doubtful series, {len(quality.doubtful)}:"
    for doubt in quality.doubtful:
        yield f"  {_format_series(doubt.series)}"
        yield escape_line(f"      {', '.join(doubt.signs)}")


def _incomplete_text(quality: Quality, reason: IncompleteReason) -> Iterator[str]:
    cases = [case for case in quality.incomplete if case.reason is reason]
    if not cases:
        return
    yield ""
    yield f"Incomplete series, {len(cases)}: {reason}"
    for case in cases:
        numbers = ", ".join(map(str, case.missing[:_MAX_MISSING]))
        more = ", …" if len(case.missing) > _MAX_MISSING else ""
        detail = f"; {case.hint}" if case.hint else ""
        yield f"  {_format_series(case.series)}"
        yield escape_line(f"      missing {numbers}{more}{detail}")


def quality_json(quality: Quality) -> dict[str, Any]:
    """Return the same as JSON."""
    return {
        "total": quality.total,
        "complete": quality.complete,
        "partial": quality.partial,
        "later": quality.later,
        "linked": quality.linked,
        "rules": quality.rules,
        "incomplete": [
            {
                "key": case.series.key,
                "missing": case.missing,
                "why": case.reason.name,
                "what": case.hint,
            }
            for case in quality.incomplete
        ],
        "doubtful": [{"key": doubt.series.key, "signs": doubt.signs} for doubt in quality.doubtful],
    }


def _format_series(row: SeriesRow) -> str:
    version = join_minor(row.version, row.version_minor)
    received = f"{row.received_total}/{row.total}"
    return escape_line(f"{row.key} v{version} {received} {row.name or '(no name)'}")
