"""Load and arrange the sets of messages that a new message can change.

Input: messages that are new or changed, and their threads. Output: every message of the sets
that they belong to, with its place, and the series. Reads the store and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.arrange import Arrangement, Place, arrange
from ingest.series.facts import BUCKET_GAP, Facts, bucket, load_facts
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.reachable import find_reachable
from ingest.store.sql import chunks, is_any
from ingest.store.write.threads import DisjointSets

# How many sets are loaded and arranged in one step when the whole store is arranged.
_SETS_PER_STEP = 500

# Date and thread of the unthreaded pieces in each bucket.
_Buckets = Mapping[int, list[tuple[datetime, int]]]


@frozen(kw_only=True)
class Node:
    """A message in its thread.

    `outcome`: as stored, None for a message without a row. `ignored`: why it takes no part in
    arranging, else None. `derived`: what its row is to be written from, None where the row is
    right already.
    """

    message_id: int
    thread_id: int
    variant: str
    facts: Facts
    person_id: int
    outcome: str | None
    reason: str = ""
    parent_id: int | None = None
    ignored: str | None = None
    derived: Derived | None = None
    mail_id: int = 0


@frozen
class ArrangedSets:
    """All messages of some sets, by key, each with its place; and the sets' arrangements."""

    nodes: dict[str, Node]
    places: dict[str, Place]
    arrangements: tuple[Arrangement, ...]

    def message_ids(self) -> list[int]:
        """Return the row ids of all messages."""
        return [node.message_id for node in self.nodes.values()]


class _Whereabouts(NamedTuple):
    """Which sets a stored message belongs to: its thread and, if it is unthreaded, its bucket."""

    thread_id: int
    bucket: int | None
    date: datetime | None


def arrange_touched(
    connection: Connection, fresh: Sequence[Node], threads: set[int], *, removed: set[int]
) -> ArrangedSets:
    """Load the sets that these threads are in, and arrange each by itself.

    `fresh`: messages that are new or replace their rows. `removed`: rows about to be deleted;
    they are left out, and the sets that they belonged to are arranged.
    """
    replaced = {node.message_id for node in fresh}
    before = _read_whereabouts(connection, replaced | removed)
    unthreaded = [
        (key, node.facts.date)
        for node in fresh
        if not node.ignored and (key := bucket(node.facts)) is not None and node.facts.date
    ]
    touched = find_reachable(
        connection,
        threads | {row.thread_id for row in before},
        unthreaded
        + [(key, date) for _, key, date in before if key is not None and date is not None],
    )
    nodes = list(fresh)
    nodes += [
        node
        for node in _load_nodes(connection, schema.message.c.thread_id, touched.threads)
        if node.message_id not in replaced and node.message_id not in removed
    ]
    buckets: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    for node in nodes:
        key = None if node.ignored else bucket(node.facts)
        if key is not None and node.facts.date is not None:
            buckets[key].append((node.facts.date, node.thread_id))
    return _arrange_sets(connection, nodes, DisjointSets(), buckets)


def arrange_stored(
    connection: Connection,
    *,
    threads: set[int] | None = None,
    repaired: Mapping[int, Node | None] = MappingProxyType({}),
) -> Iterator[ArrangedSets]:
    """Arrange stored messages again, some sets at a time, to show what their rows should be.

    `threads`: arrange only the sets that these are in. `repaired`: messages (by id) as they
    should be where their rows are damaged or missing, None for one that is to be left out. Takes
    memory for the ids of the threads and for the messages of one step, and time in proportion to
    the messages.
    """
    repaired_nodes = [node for node in repaired.values() if node is not None]
    sets = DisjointSets()
    _join_buckets(sets, _read_buckets(connection, repaired, repaired_nodes))
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    for node in repaired_nodes:
        nodes_by_thread[node.thread_id].append(node)
    stored = set(connection.execute(select(schema.message.c.thread_id).distinct()).scalars())
    threads_by_root: dict[int, list[int]] = defaultdict(list)
    for thread in stored | nodes_by_thread.keys():
        threads_by_root[sets.root(thread)].append(thread)
    wanted_roots = None if threads is None else {sets.root(thread) for thread in threads}
    roots = [root for root in threads_by_root if wanted_roots is None or root in wanted_roots]
    for start in range(0, len(roots), _SETS_PER_STEP):
        step_roots = roots[start : start + _SETS_PER_STEP]
        step_threads = [thread for root in step_roots for thread in threads_by_root[root]]
        nodes = _load_nodes(connection, schema.message.c.thread_id, step_threads, exclude=repaired)
        nodes += [node for thread in step_threads for node in nodes_by_thread.get(thread, ())]
        yield _arrange_sets(connection, nodes, sets, {})


def _read_buckets(
    connection: Connection, repaired: Collection[int], repaired_nodes: Iterable[Node]
) -> _Buckets:
    """Read the unthreaded pieces of the whole store, with the repaired messages in their place."""
    buckets: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    message = schema.message.c
    query = select(message.id, message.bucket, message.date, message.thread_id).where(
        message.bucket.is_not(None), message.date.is_not(None), message.outcome != Outcome.IGNORED
    )
    for row in connection.execute(query):
        if row.id not in repaired:
            buckets[row.bucket].append((row.date, row.thread_id))
    for node in repaired_nodes:
        key = None if node.ignored else bucket(node.facts)
        if key is not None and node.facts.date is not None:
            buckets[key].append((node.facts.date, node.thread_id))
    return buckets


def _join_buckets(sets: DisjointSets, buckets: _Buckets) -> None:
    """Join the threads whose unthreaded pieces of one bucket were sent at about the same time."""
    for members in buckets.values():
        members.sort()
        for (date, thread), (next_date, next_thread) in pairwise(members):
            if next_date - date <= BUCKET_GAP:
                sets.join(thread, next_thread)


def _arrange_sets(
    connection: Connection, nodes: Sequence[Node], sets: DisjointSets, buckets: _Buckets
) -> ArrangedSets:
    """Arrange each set of messages by itself, obeying the operators' pins."""
    _join_buckets(sets, buckets)
    pins = _read_pins(connection, (node.facts.key for node in nodes))
    nodes_by_set: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        nodes_by_set[sets.root(node.thread_id)].append(node)
    arrangements = []
    places: dict[str, Place] = {}
    for set_nodes in nodes_by_set.values():
        arrangement = arrange((node.facts for node in set_nodes if not node.ignored), pins)
        arrangements.append(arrangement)
        places |= arrangement.places
        for node in set_nodes:
            if node.ignored:
                places[node.facts.key] = Place(Outcome.IGNORED, node.ignored)
    return ArrangedSets({node.facts.key: node for node in nodes}, places, tuple(arrangements))


def _read_pins(connection: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Read where operators have put these messages: the key of another message, or ''."""
    pins: dict[str, str] = {}
    for chunk in chunks(keys):
        query = select(schema.pin.c.key, schema.pin.c.target).where(is_any(schema.pin.c.key, chunk))
        pins.update((row.key, row.target) for row in connection.execute(query))
    return pins


def _read_whereabouts(connection: Connection, message_ids: Iterable[int]) -> list[_Whereabouts]:
    """Read which sets messages have been in that change or are removed."""
    message = schema.message.c
    whereabouts: list[_Whereabouts] = []
    for chunk in chunks(message_ids):
        query = select(message.thread_id, message.bucket, message.date)
        rows = connection.execute(query.where(is_any(message.id, chunk)))
        whereabouts += [_Whereabouts(row.thread_id, row.bucket, row.date) for row in rows]
    return whereabouts


def _load_nodes(
    connection: Connection, column: Any, keys: Iterable[int], *, exclude: Collection[int] = ()
) -> list[Node]:
    """Load the messages whose `column` is one of `keys`, except the rows in `exclude`."""
    message, comment = schema.message.c, schema.comment.c
    query = select(
        message.id,
        message.thread_id,
        message.msgid,
        message.variant,
        message.date,
        message.facts,
        message.person_id,
        message.outcome,
        message.reason,
        comment.parent_id,
    ).select_from(schema.message.outerjoin(schema.comment, comment.message_id == message.id))
    nodes = []
    for chunk in chunks(keys):
        for row in connection.execute(query.where(is_any(column, chunk))).all():
            if row.id in exclude:
                continue
            nodes.append(
                Node(
                    message_id=row.id,
                    thread_id=row.thread_id,
                    variant=row.variant,
                    facts=load_facts(
                        row.facts, msgid=row.msgid, variant=row.variant, date=row.date
                    ),
                    person_id=row.person_id,
                    outcome=row.outcome,
                    reason=row.reason,
                    parent_id=row.parent_id,
                    ignored=row.reason if row.outcome == Outcome.IGNORED else None,
                )
            )
    return nodes
