"""How far a change reaches: the threads that are arranged together.

Input: threads, and unthreaded pieces (bucket and date) that are new. Output: these threads,
and all that unthreaded pieces sent at about the same time connect them with, however far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select

from ingest.series.facts import BUCKET_GAP
from ingest.store import schema
from ingest.store.bulk import chunks, is_any

# Conditions in one statement; SQLite bounds the depth of an expression at 1,000.
_CONDITIONS = 200

Near = Sequence[tuple[int, datetime]]


@dataclass(frozen=True, slots=True)
class Reach:
    """`buckets`: of the unthreaded pieces in these threads and of the new ones."""

    threads: set[int]
    buckets: set[int]


def reach(connection: Connection, threads: set[int], near: Near) -> Reach:
    """The threads to arrange together with these. Ends, since it only ever adds."""
    seen: set[int] = set()
    buckets = {key for key, _ in near}
    wanted = threads | threads_near(connection, near)
    while wanted:
        seen |= wanted
        found = _unthreaded(connection, wanted)
        buckets.update(key for key, _ in found)
        wanted = threads_near(connection, found) - seen
    return Reach(seen, buckets)


def _unthreaded(connection: Connection, threads: Iterable[int]) -> list[tuple[int, datetime]]:
    message = schema.message.c
    found: list[tuple[int, datetime]] = []
    for some in chunks(threads):
        query = select(message.bucket, message.date).where(
            is_any(message.thread_id, some),
            message.bucket.is_not(None),
            message.outcome != "ignored",
        )
        found += [(row.bucket, row.date) for row in connection.execute(query)]
    return found


def threads_near(connection: Connection, near: Iterable[tuple[int, datetime]]) -> set[int]:
    """Threads with unthreaded pieces of the same bucket sent within the gap."""
    spans: dict[int, list[tuple[datetime, datetime]]] = {}
    for key, date in sorted(set(near)):
        known = spans.setdefault(key, [])
        if known and date - known[-1][1] <= BUCKET_GAP:
            known[-1] = (known[-1][0], date)
        else:
            known.append((date, date))
    flat = [(key, *span) for key, some in spans.items() for span in some]
    message = schema.message.c
    threads: set[int] = set()
    for start in range(0, len(flat), _CONDITIONS):
        conditions = [
            and_(
                message.bucket == key,
                message.date.between(first - BUCKET_GAP, last + BUCKET_GAP),
            )
            for key, first, last in flat[start : start + _CONDITIONS]
        ]
        query = select(message.thread_id).where(or_(*conditions), message.outcome != "ignored")
        threads.update(connection.execute(query).scalars())
    return threads
