"""How intake fares: what came each day, what waits, and what was set aside and why."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import parse_request
from ingest.api.web.html import el, join
from ingest.api.web.layout import pairs, render_page
from ingest.api.web.plot import bar_chart
from ingest.store import schema
from ingest.store.inbox.queue import oldest_waiting

_DAYS = 30


def status_page(request: Request) -> Response:
    one = parse_request(request)
    now = one.context.now()
    with one.read() as connection:
        days = _by_day(connection, now)
        waiting, aside = _pending(connection)
        oldest = oldest_waiting(connection)
    lag = f"{max((now - oldest).total_seconds(), 0):,.0f} s" if oldest is not None else "none"
    facts = [
        ("Today", f"{days[-1][1]:,} mails"),
        (f"In {_DAYS} days", f"{sum(count for _, count in days):,} mails"),
        ("Waiting for their records", f"{waiting:,}"),
        ("The oldest waits", lag),
        ("In quarantine", f"{sum(aside.values()):,}"),
    ]
    rows = [
        el("tr", el("td", reason), el("td", f"{count:,}", class_="narrow"))
        for reason, count in aside.most_common(20)
    ]
    heads = el("tr", el("th", "Reason", scope="col"), el("th", "Mails", scope="col"))
    return render_page(
        "Intake",
        pairs(facts),
        el("h2", "Mail accepted each day (UTC)"),
        bar_chart(days, label=f"Mails accepted on each of the last {_DAYS} days"),
        join(el("h2", "Quarantine"), el("table", el("thead", heads), el("tbody", rows)))
        if rows
        else None,
    )


def _by_day(connection: Connection, now: datetime) -> list[tuple[str, int]]:
    mail = schema.mail.c
    first = (now - timedelta(days=_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    day = func.date(mail.accepted)
    query = select(day.label("day"), func.count()).where(mail.accepted >= first).group_by(day)
    counts = {str(row[0]): row[1] for row in connection.execute(query)}
    days = [f"{first + timedelta(days=back):%Y-%m-%d}" for back in range(_DAYS)]
    return [(each, counts.get(each, 0)) for each in days]


def _pending(connection: Connection) -> tuple[int, Counter[str]]:
    """What waits, and what was set aside, by the kind of its reason."""
    pending = schema.pending.c
    query = select(pending.reason, func.count()).group_by(pending.reason)
    waiting, aside = 0, Counter[str]()
    for reason, count in connection.execute(query):
        if reason is None:
            waiting = count
        else:
            aside[": ".join(reason.split(": ")[:2])] += count
    return waiting, aside
