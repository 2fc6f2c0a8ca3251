"""Count mail: accepted each day, waiting in the queue, and in quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from ingest.store import schema


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many mails wait to be derived, and how many are in quarantine, by reason."""

    waiting: int
    quarantined: Mapping[str, int]


def count_accepted_by_day(connection: Connection, since: datetime) -> dict[str, int]:
    """Return how many mails were accepted on each day (UTC, `YYYY-MM-DD`) from `since` on.

    Days without mail are left out.
    """
    mail = schema.mail.c
    day = func.date(mail.accepted)
    query = select(day.label("day"), func.count()).where(mail.accepted >= since).group_by(day)
    return {str(row[0]): row[1] for row in connection.execute(query)}


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
