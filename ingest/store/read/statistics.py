"""Count mail: accepted each day, waiting in the queue, and in quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Connection, func, select

from ingest.store import schema


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many mails wait to be derived, and how many are in quarantine, by reason."""

    waiting: int
    quarantined: Mapping[str, int]


# Mails that are counted one by one: more of one day are counted by their row numbers.
_MAX_COUNTED = 20_000


def count_accepted_by_day(connection: Connection, first: datetime, days: int) -> list[int]:
    """Return how many mails were accepted on each of these days, which begin at `first`.

    A replay may store a million on one day. So many are not counted one by one: row numbers rise
    with the time of acceptance, and the difference of the first and the last is at most a little
    more than the number of rows.
    """
    mail = schema.mail.c
    starts = [first + timedelta(days=offset) for offset in range(days + 1)]
    few = (
        select(mail.accepted)
        .where(mail.accepted >= starts[0], mail.accepted < starts[-1])
        .limit(_MAX_COUNTED + 1)
        .subquery()
    )
    day = func.date(few.c.accepted)
    query = select(day.label("day"), func.count()).group_by(day)
    counts = {str(row[0]): row[1] for row in connection.execute(query)}
    if sum(counts.values()) <= _MAX_COUNTED:
        return [counts.get(f"{start:%Y-%m-%d}", 0) for start in starts[:-1]]
    return [_count_accepted(connection, *span) for span in pairwise(starts)]


def _count_accepted(connection: Connection, since: datetime, before: datetime) -> int:
    mail = schema.mail.c
    is_within = (mail.accepted >= since, mail.accepted < before)
    few = select(mail.accepted).where(*is_within).limit(_MAX_COUNTED + 1).subquery()
    count: int = connection.execute(select(func.count()).select_from(few)).scalar_one()
    if count <= _MAX_COUNTED:
        return count
    ids = select(mail.id).where(*is_within).limit(1)
    first: int = connection.execute(ids.order_by(mail.accepted)).scalar_one()
    last: int = connection.execute(ids.order_by(mail.accepted.desc())).scalar_one()
    return max(count, abs(last - first) + 1)


def count_queue(connection: Connection) -> QueueCounts:
    """Return how many mails wait, and how many are in quarantine for each reason."""
    pending = schema.pending.c
    query = select(pending.reason, func.count()).group_by(pending.reason)
    waiting = 0
    quarantined: dict[str, int] = {}
    for reason, count in connection.execute(query):
        if reason is None:
            waiting = count
        else:
            quarantined[reason] = count
    return QueueCounts(waiting, quarantined)
