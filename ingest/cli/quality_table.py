"""What `ingest check --series` prints: how well series are put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.cli.terminal import escape_line
from ingest.reports.export import count_text
from ingest.reports.quality import IncompleteReason, Quality
from ingest.store.read.series import SeriesRow


def quality_text(quality: Quality) -> Iterator[str]:
    """For a person: counts, then the incomplete and the doubtful by Message-ID."""
    torn = len(quality.incomplete)
    partial = f"{quality.partial} partial re-rolls"
    yield f"{quality.total} series: {quality.complete} complete, {torn} not, {partial}"
    yield f"{quality.linked} of {quality.later} later versions are linked to the one before"
    yield ""
    yield "How messages came into their series:"
    for rule, count in sorted(quality.rules.items(), key=lambda item: (-item[1], item[0])):
        yield f"  {count:>7}  {rule}"
    for why in IncompleteReason:
        some = [one for one in quality.incomplete if one.why is why]
        if some:
            yield ""
            yield f"Not complete, {len(some)}: {why}"
            for one in some:
                shown = ", ".join(map(str, one.missing[:10]))
                more = ", …" if len(one.missing) > 10 else ""
                yield f"  {_line(one.series)}"
                what = f"; {one.what}" if one.what else ""
                yield escape_line(f"      missing {shown}{more}{what}")
    yield ""
    yield f"Worth a look, {len(quality.doubtful)}:"
    for doubt in quality.doubtful:
        yield f"  {_line(doubt.series)}"
        yield escape_line(f"      {', '.join(doubt.signs)}")


def quality_json(quality: Quality) -> dict[str, Any]:
    """The same for machines."""
    return {
        "total": quality.total,
        "complete": quality.complete,
        "partial": quality.partial,
        "later": quality.later,
        "linked": quality.linked,
        "rules": quality.rules,
        "incomplete": [
            {"key": one.series.key, "missing": one.missing, "why": one.why.name, "what": one.what}
            for one in quality.incomplete
        ],
        "doubtful": [{"key": one.series.key, "signs": one.signs} for one in quality.doubtful],
    }


def _line(row: SeriesRow) -> str:
    version = count_text(row.version, row.version_minor)
    got = f"{row.received_total}/{row.total}"
    return escape_line(f"{row.key} v{version} {got} {row.name or '(no name)'}")
