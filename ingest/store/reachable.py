"""How far a change reaches: the threads that are arranged together.

Input: threads, and unthreaded pieces (bucket and date) that are new. Output: these threads,
and all that unthreaded pieces sent at about the same time connect them with, however far.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import BUCKET_GAP
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.sql import chunks, is_any

NearPieces = Sequence[tuple[int, datetime]]


@frozen
class ReachableThreads:
    """`buckets`: of the unthreaded pieces in these threads and of the new ones."""

    threads: set[int]
    buckets: set[int]


def find_reachable(connection: Connection, threads: set[int], near: NearPieces) -> ReachableThreads:
    """The threads to arrange together with these. Ends, since it only ever adds."""
    seen: set[int] = set()
    buckets = {key for key, _ in near}
    wanted = threads | threads_near(connection, near)
    while wanted:
        seen |= wanted
        found = [(key, date) for _, key, date in read_unthreaded(connection, wanted)]
        buckets.update(key for key, _ in found)
        wanted = threads_near(connection, found) - seen
    return ReachableThreads(seen, buckets)


def read_unthreaded(
    connection: Connection, threads: Iterable[int]
) -> list[tuple[int, int, datetime]]:
    """The unthreaded pieces in these threads: thread, bucket and date. A thread without one reaches
    no other.
    """
    message = schema.message.c
    found: list[tuple[int, int, datetime]] = []
    for some in chunks(threads):
        query = select(message.thread_id, message.bucket, message.date).where(
            is_any(message.thread_id, some),
            message.bucket.is_not(None),
            message.outcome != Outcome.IGNORED,
        )
        found += [(row.thread_id, row.bucket, row.date) for row in connection.execute(query)]
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
    threads: set[int] = set()
    message = schema.message.c
    columns = select(message.bucket, message.date, message.thread_id)
    for some in chunks(spans):
        # The exact spans as conditions would take longer to write than all between their ends
        # takes to read: a batch's mails are of one time, and a bucket is one sender's.
        first = min(spans[key][0][0] for key in some) - BUCKET_GAP
        last = max(spans[key][-1][1] for key in some) + BUCKET_GAP
        query = columns.where(
            is_any(message.bucket, some),
            message.date.between(first, last),
            message.outcome != Outcome.IGNORED,
        )
        for key, date, thread in connection.execute(query):
            # The last span that begins early enough ends the latest.
            found = bisect_right(spans[key], date + BUCKET_GAP, key=itemgetter(0)) - 1
            if found >= 0 and date - BUCKET_GAP <= spans[key][found][1]:
                threads.add(thread)
    return threads
