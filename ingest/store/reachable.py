"""Find how far a change reaches: the threads that must be arranged together.

Input: threads, and unthreaded pieces (bucket and date) that are new. Output: these threads, and
all threads that are connected with them by unthreaded pieces of one bucket sent at about the
same time, directly or over others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import BUCKET_GAP
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.sql import chunks, is_any

# Unthreaded pieces, each as its bucket and date.
BucketDates = Sequence[tuple[int, datetime]]


@frozen
class ReachableThreads:
    """The threads, and the buckets of the unthreaded pieces in them and of the new ones."""

    threads: set[int]
    buckets: set[int]


class UnthreadedPiece(NamedTuple):
    """A stored message that replies to nothing and may be part of a numbered series."""

    thread_id: int
    bucket: int
    date: datetime


def find_reachable(
    connection: Connection, threads: set[int], pieces: BucketDates
) -> ReachableThreads:
    """Find the threads to arrange together with these threads and new unthreaded pieces.

    It terminates because it only ever adds threads.
    """
    seen: set[int] = set()
    buckets = {key for key, _ in pieces}
    unseen = threads | find_threads_near(connection, pieces)
    while unseen:
        seen |= unseen
        stored = [(key, date) for _, key, date in read_unthreaded(connection, unseen)]
        buckets.update(key for key, _ in stored)
        unseen = find_threads_near(connection, stored) - seen
    return ReachableThreads(seen, buckets)


def read_unthreaded(connection: Connection, threads: Iterable[int]) -> list[UnthreadedPiece]:
    """Read the unthreaded pieces in these threads. A thread without one reaches no other."""
    message = schema.message.c
    pieces: list[UnthreadedPiece] = []
    for chunk in chunks(threads):
        query = select(message.thread_id, message.bucket, message.date).where(
            is_any(message.thread_id, chunk),
            message.bucket.is_not(None),
            message.outcome != Outcome.IGNORED,
        )
        pieces += [
            UnthreadedPiece(row.thread_id, row.bucket, row.date)
            for row in connection.execute(query)
        ]
    return pieces


def find_threads_near(connection: Connection, pieces: Iterable[tuple[int, datetime]]) -> set[int]:
    """Find the threads with unthreaded pieces of the same buckets, sent within `BUCKET_GAP`."""
    spans = _merge_dates(pieces)
    threads: set[int] = set()
    message = schema.message.c
    columns = select(message.bucket, message.date, message.thread_id)
    for chunk in chunks(spans):
        # The exact spans as conditions would take longer to write than it takes to read all rows
        # between their ends: the mails of a batch are of one time, and a bucket is one sender's.
        first = min(spans[key][0][0] for key in chunk) - BUCKET_GAP
        last = max(spans[key][-1][1] for key in chunk) + BUCKET_GAP
        query = columns.where(
            is_any(message.bucket, chunk),
            message.date.between(first, last),
            message.outcome != Outcome.IGNORED,
        )
        for key, date, thread in connection.execute(query):
            # Of the spans that begin early enough, the last one ends the latest.
            index = bisect_right(spans[key], date + BUCKET_GAP, key=itemgetter(0)) - 1
            if index >= 0 and date - BUCKET_GAP <= spans[key][index][1]:
                threads.add(thread)
    return threads


def _merge_dates(
    pieces: Iterable[tuple[int, datetime]],
) -> dict[int, list[tuple[datetime, datetime]]]:
    """Merge the dates of each bucket into spans (first and last date) without larger gaps."""
    spans: dict[int, list[tuple[datetime, datetime]]] = {}
    for key, date in sorted(set(pieces)):
        bucket_spans = spans.setdefault(key, [])
        if bucket_spans and date - bucket_spans[-1][1] <= BUCKET_GAP:
            bucket_spans[-1] = (bucket_spans[-1][0], date)
        else:
            bucket_spans.append((date, date))
    return spans
