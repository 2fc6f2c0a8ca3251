"""What a message can change: the connected set around it, loaded and arranged.

Input: messages that are new or changed, and their threads. Output: every message of the sets
that they belong to, with its place, and the series. Reads the store and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any

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

# Sets that are loaded and arranged in one step where all of them are.
_SETS = 500


@frozen(kw_only=True)
class Node:
    """A message in its thread. `outcome`: as stored, None for one without a row yet; `derived`:
    what its row is to be written from, None where the row stands.
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
class Arranged:
    """All messages of the sets, by key, each with its place; and the sets' arrangements."""

    nodes: dict[str, Node]
    places: dict[str, Place]
    arrangements: tuple[Arrangement, ...]

    def message_ids(self) -> list[int]:
        return [node.message_id for node in self.nodes.values()]


def arrange_touched(
    connection: Connection, fresh: Sequence[Node], threads: set[int], *, gone: set[int]
) -> Arranged:
    """Load the sets that these threads are in, and arrange each by itself.

    `gone`: rows about to be deleted. They are left out, and what they belonged to is arranged.
    """
    replaced = {node.message_id for node in fresh}
    before = _before(connection, replaced | gone)
    near = [
        (key, node.facts.date)
        for node in fresh
        if not node.ignored and (key := bucket(node.facts)) is not None and node.facts.date
    ]
    touched = find_reachable(
        connection,
        threads | {thread for thread, _, _ in before},
        near + [(key, date) for _, key, date in before if key is not None and date is not None],
    )
    nodes = list(fresh)
    nodes += [
        node
        for node in _load(connection, schema.message.c.thread_id, touched.threads)
        if node.message_id not in replaced and node.message_id not in gone
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
    mended: Mapping[int, Node | None] = MappingProxyType({}),
) -> Iterator[Arranged]:
    """Arrange what is stored, anew and some sets at a time: what its rows should say.

    `threads`: only the sets that these are in. `mended`: messages (by id) as they should be
    where their rows are damaged or gone, None for one that is to be left out. Takes memory for
    the ids of threads and one step's messages, and time in proportion to the messages.
    """
    buckets: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    for message_id, key, date, thread_id in _bucketed(connection):
        if message_id not in mended:
            buckets[key].append((date, thread_id))
    for node in mended.values():
        own = bucket(node.facts) if node is not None and not node.ignored else None
        if node is not None and own is not None and node.facts.date is not None:
            buckets[own].append((node.facts.date, node.thread_id))
    sets = DisjointSets()
    _join_near(sets, buckets)
    every = set(connection.execute(select(schema.message.c.thread_id).distinct()).scalars())
    by_thread: dict[int, list[Node]] = defaultdict(list)
    for node in mended.values():
        if node is not None:
            by_thread[node.thread_id].append(node)
    by_root: dict[int, list[int]] = defaultdict(list)
    for one in every | by_thread.keys():
        by_root[sets.root(one)].append(one)
    wanted = None if threads is None else {sets.root(one) for one in threads}
    roots = [root for root in by_root if wanted is None or root in wanted]
    for start in range(0, len(roots), _SETS):
        some = [one for root in roots[start : start + _SETS] for one in by_root[root]]
        nodes = _load(connection, schema.message.c.thread_id, some, without=mended)
        nodes += [node for one in some for node in by_thread.get(one, ())]
        yield _arrange_sets(connection, nodes, sets, {})


def _bucketed(connection: Connection) -> Iterator[tuple[int, int, datetime, int]]:
    """The unthreaded pieces stored: message, bucket, date and thread."""
    message = schema.message.c
    query = select(message.id, message.bucket, message.date, message.thread_id).where(
        message.bucket.is_not(None), message.date.is_not(None), message.outcome != Outcome.IGNORED
    )
    for row in connection.execute(query):
        yield row.id, row.bucket, row.date, row.thread_id


def _join_near(sets: DisjointSets, buckets: Mapping[int, list[tuple[datetime, int]]]) -> None:
    for members in buckets.values():
        members.sort()
        for (date, thread), (next_date, next_thread) in pairwise(members):
            if next_date - date <= BUCKET_GAP:
                sets.join(thread, next_thread)


def _arrange_sets(
    connection: Connection,
    nodes: Sequence[Node],
    sets: DisjointSets,
    buckets: Mapping[int, list[tuple[datetime, int]]],
) -> Arranged:
    """Arrange each set of messages by itself, as operators have pinned it."""
    _join_near(sets, buckets)
    pinned = _pins(connection, (node.facts.key for node in nodes))
    by_set: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        by_set[sets.root(node.thread_id)].append(node)
    arrangements = []
    places: dict[str, Place] = {}
    for members_ in by_set.values():
        arrangement = arrange((node.facts for node in members_ if not node.ignored), pinned)
        arrangements.append(arrangement)
        places |= arrangement.places
        for node in members_:
            if node.ignored:
                places[node.facts.key] = Place(Outcome.IGNORED, node.ignored)
    return Arranged({node.facts.key: node for node in nodes}, places, tuple(arrangements))


def _pins(connection: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Where operators have put messages: the key of one to stand beside, or '' for alone."""
    found: dict[str, str] = {}
    for some in chunks(keys):
        query = select(schema.pin.c.key, schema.pin.c.target).where(is_any(schema.pin.c.key, some))
        found.update((row.key, row.target) for row in connection.execute(query))
    return found


def _before(
    connection: Connection, message_ids: Iterable[int]
) -> list[tuple[int, int | None, datetime | None]]:
    """Where stored messages that change or go have been: thread, bucket and date."""
    message = schema.message.c
    found: list[tuple[int, int | None, datetime | None]] = []
    for some in chunks(message_ids):
        query = select(message.thread_id, message.bucket, message.date)
        rows = connection.execute(query.where(is_any(message.id, some)))
        found += [(row.thread_id, row.bucket, row.date) for row in rows]
    return found


def _load(
    connection: Connection, column: Any, keys: Iterable[int], *, without: Collection[int] = ()
) -> list[Node]:
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
    for some in chunks(keys):
        for row in connection.execute(query.where(is_any(column, some))).all():
            if row.id in without:
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
