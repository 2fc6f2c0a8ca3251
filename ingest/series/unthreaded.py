"""Decide which unthreaded pieces may belong together: those of one bucket, sent close in time.

Input: the unthreaded pieces of one bucket (`facts.bucket`). Output: the groups that are arranged
together. Pure: the groups depend on the set of pieces alone, whatever order they arrive in.

A group is bounded. A person posts a series a few times a day; a sender who posts thousands of
`[PATCH 1/2]` would make each mail cost as much as all before it. Where too many pieces are close
to each other, only those that are still closer are grouped, at last none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.series.crowd import MAX_SAME_NUMBER
from ingest.series.facts import BUCKET_GAP

# The most pieces of a group. (Of these, at most `MAX_SAME_NUMBER` have one number.)
MAX_GROUP = 200

# The longest time between neighbours in a group, and in what a too large group is divided into.
_GAPS = (BUCKET_GAP, timedelta(minutes=10), timedelta(minutes=1))


class UnthreadedPiece(NamedTuple):
    """Hold what grouping needs of a piece that replies to nothing.

    `row_id`: identifies it; negative where it has no row yet. `read_number`: returns its number,
    None where it has none; it is called only where there are few pieces.
    """

    date: datetime
    row_id: int
    thread_id: int
    bucket: int
    read_number: Callable[[], int | None]


@frozen
class UnthreadedGroup:
    """Hold the pieces of one group, by row id, and their threads.

    `is_crowded`: it is one piece, and there are too many others close to it.
    """

    row_ids: frozenset[int]
    threads: frozenset[int]
    is_crowded: bool


def group_unthreaded(pieces: Iterable[UnthreadedPiece]) -> list[UnthreadedGroup]:
    """Group the pieces of one bucket. A piece that belongs to no other is a group by itself."""
    in_order = sorted(pieces, key=lambda piece: (piece.date, piece.row_id))
    return list(_divide(in_order, 0))


def _divide(pieces: Sequence[UnthreadedPiece], level: int) -> Iterator[UnthreadedGroup]:
    """Yield the groups of pieces in the order of time, with the gap of a level."""
    start = 0
    for index in range(1, len(pieces) + 1):
        if index < len(pieces) and pieces[index].date - pieces[index - 1].date <= _GAPS[level]:
            continue
        group = pieces[start:index]
        start = index
        if not _has_too_many(group):
            yield _make_group(group)
        elif level + 1 < len(_GAPS):
            yield from _divide(group, level + 1)
        else:
            for piece in group:
                yield _make_group([piece], is_crowded=True)


def _has_too_many(pieces: Sequence[UnthreadedPiece]) -> bool:
    if len(pieces) <= MAX_SAME_NUMBER:
        return False
    if len(pieces) > MAX_GROUP:
        return True
    return max(Counter(piece.read_number() for piece in pieces).values()) > MAX_SAME_NUMBER


def _make_group(pieces: Sequence[UnthreadedPiece], *, is_crowded: bool = False) -> UnthreadedGroup:
    return UnthreadedGroup(
        frozenset(piece.row_id for piece in pieces),
        frozenset(piece.thread_id for piece in pieces),
        is_crowded,
    )
