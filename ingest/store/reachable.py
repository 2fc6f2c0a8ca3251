"""Find how far a change reaches: the threads that must be arranged together.

Input: threads, and unthreaded pieces that are new or change. Output: these threads, and all
threads that are connected with them because they have unthreaded pieces of one group
(`series.unthreaded`), directly or over others.

What is read is bounded. A group has at most `MAX_GROUP` pieces. So around each piece, that many and
one more on each side decide what is in its group: where there are more, it is too large in any
case.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from ingest.frozen import frozen
from ingest.series.facts import BUCKET_GAP, Facts, bucket
from ingest.series.outcome import Outcome
from ingest.series.unthreaded import (
    MAX_GROUP,
    UnthreadedGroup,
    UnthreadedPiece,
    group_unthreaded,
)
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.sql.key_lists import chunks, is_any

# The most rows that are read of the time between two pieces: beyond that, around each of them.
_MAX_BETWEEN = 2_000


@frozen
class ReachableThreads:
    """The threads, and the buckets of the unthreaded pieces in them and of the new ones.

    `joined`: sets of threads that unthreaded pieces connect. `crowded`: the row ids of unthreaded
    pieces that are not compared with the others of their time, since these are too many.
    """

    threads: set[int]
    buckets: set[int]
    joined: Sequence[frozenset[int]]
    crowded: frozenset[int]


def as_unthreaded(facts: Facts, row_id: int, thread_id: int) -> UnthreadedPiece | None:
    """Return a message as an unthreaded piece, or None if it is none."""
    key = bucket(facts)
    if key is None or facts.date is None:
        return None
    return UnthreadedPiece(facts.date, row_id, thread_id, key, lambda: facts.number)


def read_piece(row: Any) -> UnthreadedPiece:
    """Return a row of `unthreaded_columns` as an unthreaded piece."""
    return UnthreadedPiece(
        row.date, row.id, row.thread_id, row.bucket, partial(_read_number, row.facts)
    )


def unthreaded_columns() -> tuple[ColumnElement[Any], ...]:
    """Return the columns that `read_piece` needs."""
    message = schema.message.c
    return message.date, message.id, message.thread_id, message.bucket, message.facts


def _read_number(facts: str) -> int | None:
    number: int | None = json.loads(facts).get("number")
    return number


def find_reachable(
    connection: Connection,
    threads: set[int],
    fresh: Sequence[UnthreadedPiece] = (),
    *,
    replaced: Collection[int] = (),
) -> ReachableThreads:
    """Find the threads to arrange together with these threads and new unthreaded pieces.

    `replaced`: the rows of messages that change or are removed. The threads of the groups that
    they leave are found too, and those of groups that become too large, or small enough. It
    terminates because it only ever adds threads.
    """
    search = _Search(connection, fresh, replaced)
    seen: set[int] = set()
    unseen = set(threads)
    pieces = [*fresh, *read_unthreaded(connection, UNTHREADED_BY_ID, replaced)]
    while unseen or pieces:
        seen |= unseen
        pieces += read_unthreaded(connection, UNTHREADED_OF_THREADS, unseen)
        unseen = search.threads_near(pieces) - seen if pieces else set()
        pieces = []
    return search.result(seen)


def read_unthreaded(
    connection: Connection, query: KeyedQuery, keys: Iterable[int]
) -> list[UnthreadedPiece]:
    """Read the unthreaded pieces with these keys, which are row ids or threads."""
    return [read_piece(row) for row in query.rows(connection, keys)]


_MESSAGE = schema.message.c
_UNTHREADED = select(*unthreaded_columns()).where(
    _MESSAGE.bucket.is_not(None),
    _MESSAGE.date.is_not(None),
    _MESSAGE.outcome != Outcome.IGNORED,
)
UNTHREADED_BY_ID = KeyedQuery(_UNTHREADED, _MESSAGE.id)
UNTHREADED_OF_THREADS = KeyedQuery(_UNTHREADED, _MESSAGE.thread_id)


class _Search:
    """What is known of the buckets: the stored pieces that were read, and how these change."""

    def __init__(
        self, connection: Connection, fresh: Sequence[UnthreadedPiece], replaced: Collection[int]
    ) -> None:
        self._connection = connection
        self._replaced = replaced
        self._fresh: dict[int, list[UnthreadedPiece]] = defaultdict(list)
        for piece in fresh:
            self._fresh[piece.bucket].append(piece)
        self._stored: dict[int, dict[int, UnthreadedPiece]] = defaultdict(dict)
        self._searched: set[tuple[int, datetime]] = set()

    def threads_near(self, pieces: Iterable[UnthreadedPiece]) -> set[int]:
        """Return the threads of the groups that the pieces are in, or that change near them."""
        row_ids: dict[int, set[int]] = defaultdict(set)
        dates: dict[int, list[datetime]] = defaultdict(list)
        for piece in pieces:
            row_ids[piece.bucket].add(piece.row_id)
            if (piece.bucket, piece.date) not in self._searched:
                self._searched.add((piece.bucket, piece.date))
                dates[piece.bucket].append(piece.date)
        self._load(dates)
        threads: set[int] = set()
        for key, own in row_ids.items():
            if len(self._stored[key]) + len(self._fresh[key]) == 1:  # as most are
                only = next(iter([*self._stored[key].values(), *self._fresh[key]]))
                threads.add(only.thread_id)
                continue
            before = set(group_unthreaded(self._stored[key].values()))
            after = set(self._groups(key))
            for group in before | after:
                if (group in before) != (group in after) or not own.isdisjoint(group.row_ids):
                    threads |= group.threads
        return threads

    def result(self, threads: set[int]) -> ReachableThreads:
        """Return the threads that were found, with how unthreaded pieces connect them."""
        keys = {*self._stored, *self._fresh}
        groups = [
            group
            for key in keys
            if len(self._stored[key]) + len(self._fresh[key]) > 1
            for group in self._groups(key)
            if not threads.isdisjoint(group.threads)
        ]
        return ReachableThreads(
            threads,
            set(keys),
            [group.threads for group in groups if len(group.threads) > 1],
            frozenset(row_id for group in groups if group.is_crowded for row_id in group.row_ids),
        )

    def _groups(self, key: int) -> list[UnthreadedGroup]:
        """Return the groups of a bucket as they will be."""
        kept = [
            piece for row_id, piece in self._stored[key].items() if row_id not in self._replaced
        ]
        return group_unthreaded([*kept, *self._fresh[key]])

    # --- reading ---

    def _load(self, dates: Mapping[int, Sequence[datetime]]) -> None:
        """Read what is stored around these dates, by bucket."""
        if sum(map(len, dates.values())) == 1:  # a mail by itself, perhaps one of thousands
            for key, (date,) in dates.items():
                self._load_span(key, [date])
            return
        for keys in chunks(dates):
            # One query for all buckets, as long as it finds little: the exact spans as conditions
            # would take longer to write than it takes to read the rows between their ends.
            first = min(min(dates[key]) for key in keys) - BUCKET_GAP
            last = max(max(dates[key]) for key in keys) + BUCKET_GAP
            limit = MAX_GROUP + 4 * len(keys)
            rows = self._read(
                is_any(schema.message.c.bucket, keys),
                schema.message.c.date.between(first, last),
                limit=limit,
            )
            if len(rows) == limit:
                for key in keys:
                    self._load_span(key, sorted(dates[key]))
                continue
            found: dict[int, list[datetime]] = defaultdict(list)
            for piece in rows:
                found[piece.bucket].append(piece.date)
            for key, found_dates in found.items():
                # Pieces beyond the ends of the query may be connected over those that it found.
                lowest, highest = min(dates[key]), max(dates[key])
                earlier = sorted(date for date in found_dates if date < lowest)
                later = sorted(date for date in found_dates if date > highest)
                if earlier and _is_connected([first, *earlier, lowest]):
                    self._load_before(key, first)
                if later and _is_connected([highest, *later, last]):
                    self._load_after(key, last)

    def _load_span(self, key: int, dates: Sequence[datetime]) -> None:
        """Read what is stored between these dates, which are sorted, and around them."""
        if len(dates) == 1:
            self._load_before(key, dates[0] + timedelta.resolution)
            self._load_after(key, dates[0])
            return
        of_bucket = schema.message.c.bucket == key
        between = schema.message.c.date.between(dates[0], dates[-1])
        found = self._read(of_bucket, between, limit=_MAX_BETWEEN)
        if len(found) == _MAX_BETWEEN and dates[0] != dates[-1]:
            middle = len(dates) // 2
            self._load_span(key, dates[:middle])
            self._load_span(key, dates[middle:])
            return
        self._load_before(key, dates[0])
        self._load_after(key, dates[-1])

    def _load_before(self, key: int, date: datetime) -> None:
        """Read the pieces of a bucket before a date, as many as can matter."""
        column = schema.message.c.date
        conditions = (schema.message.c.bucket == key, column < date)
        self._read(*conditions, order=column.desc(), limit=MAX_GROUP + 1)

    def _load_after(self, key: int, date: datetime) -> None:
        """Read the pieces of a bucket after a date, as many as can matter."""
        column = schema.message.c.date
        conditions = (schema.message.c.bucket == key, column > date)
        self._read(*conditions, order=column, limit=MAX_GROUP + 1)

    def _read(
        self, *conditions: ColumnElement[bool], order: Any = None, limit: int
    ) -> list[UnthreadedPiece]:
        message = schema.message.c
        query = (
            select(*unthreaded_columns())
            .where(*conditions, message.outcome != Outcome.IGNORED)
            .limit(limit)
        )
        if order is not None:
            query = query.order_by(order)
        pieces = [read_piece(row) for row in self._connection.execute(query)]
        for piece in pieces:
            self._stored[piece.bucket][piece.row_id] = piece
        return pieces


def _is_connected(dates: Sequence[datetime]) -> bool:
    """Tell whether pieces of these dates, which are sorted, could be in one group."""
    return all(later - earlier <= BUCKET_GAP for earlier, later in pairwise(dates))
