"""The status page: mail accepted each day, the queue, and the quarantine with its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import parse_request
from ingest.api.web.html import el, join
from ingest.api.web.layout import pairs, render_page, table
from ingest.api.web.plot import bar_chart
from ingest.store.inbox.queue import oldest_waiting
from ingest.store.read.statistics import count_accepted_by_day, count_queue

_DAYS = 30
_MAX_REASONS = 20


def status_page(http_request: Request) -> Response:
    """Return the status page."""
    request = parse_request(http_request)
    now = request.context.now()
    with request.read() as connection:
        days = _count_days(connection, now)
        queue = count_queue(connection)
        oldest = oldest_waiting(connection)
    reasons = _group_reasons(queue.quarantined)
    age = f"{max((now - oldest).total_seconds(), 0):,.0f} s" if oldest is not None else "none"
    facts = [
        ("Today", _format_mails(days[-1][1])),
        (f"In {_DAYS} days", _format_mails(sum(count for _, count in days))),
        ("In the queue", f"{queue.waiting:,}"),
        ("Oldest in the queue", age),
        ("In quarantine", f"{sum(reasons.values()):,}"),
    ]
    rows = [
        el("tr", el("td", reason), el("td", f"{count:,}", class_="narrow"))
        for reason, count in reasons.most_common(_MAX_REASONS)
    ]
    return render_page(
        "Status",
        pairs(facts),
        el("h2", "Mail accepted each day (UTC)"),
        bar_chart(days, label=f"Mail accepted on each of the last {_DAYS} days"),
        join(el("h2", "Quarantine"), table(("Reason", "Mails"), rows)) if rows else None,
    )


def _count_days(connection: Connection, now: datetime) -> list[tuple[str, int]]:
    """Return the last days, each with the number of mails, the oldest first."""
    first = (now - timedelta(days=_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    counts = count_accepted_by_day(connection, first, _DAYS)
    return [
        (f"{first + timedelta(days=offset):%Y-%m-%d}", count) for offset, count in enumerate(counts)
    ]


def _group_reasons(quarantined: Mapping[str, int]) -> Counter[str]:
    """Return the number of mails by the first two parts of their reason.

    Later parts differ from mail to mail.
    """
    reasons = Counter[str]()
    for reason, count in quarantined.items():
        reasons[": ".join(reason.split(": ")[:2])] += count
    return reasons


def _format_mails(count: int) -> str:
    return f"{count:,} mail" if count == 1 else f"{count:,} mails"
