"""Load and arrange the sets of messages that a new message can change.

Input: messages that are new or changed, and their threads. Output: every message of the sets
that they belong to, with its place, and the series. Reads the store and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import ColumnElement, Connection, select

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.arrange import Arrangement, Place, arrange
from ingest.series.comments import find_direct
from ingest.series.facts import Facts, load_facts
from ingest.series.outcome import Outcome
from ingest.series.unthreaded import UnthreadedGroup, UnthreadedPiece, group_unthreaded
from ingest.store import schema
from ingest.store.batches import iter_keys, merge_keys
from ingest.store.keyed import KeyedQuery
from ingest.store.reachable import (
    as_unthreaded,
    find_reachable,
    read_piece,
    unthreaded_columns,
)
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.write.threads import DisjointSets

# How much is loaded in one step when the whole store is arranged.
_THREADS_PER_STEP = 500
_BUCKETS_PER_STEP = 500


@frozen(kw_only=True)
class Node:
    """A message in its thread.

    `is_stored`: whether it has a row. `outcome`: as stored, of those whose row is right. `ignored`:
    why it takes no part in arranging, else None. `derived`: what its row is to be written from,
    None where the row is right already.
    """

    message_id: int
    thread_id: int
    variant: str
    facts: Facts
    person_id: int
    is_stored: bool
    outcome: Outcome | None = None
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


def arrange_touched(
    connection: Connection, fresh: Sequence[Node], threads: set[int], *, removed: set[int]
) -> ArrangedSets:
    """Load the sets that these threads are in, and arrange each by itself.

    `fresh`: messages that are new or replace their rows. `removed`: rows about to be deleted;
    they are left out, and the sets that they belonged to are arranged.
    """
    replaced = {node.message_id for node in fresh if node.is_stored} | removed
    touched = find_reachable(
        connection,
        threads | _read_threads(connection, replaced),
        [piece for node in fresh if (piece := _unthreaded(node)) is not None],
        replaced=replaced,
    )
    nodes = list(fresh)
    # What is ignored takes no part, and there may be thousands of them.
    is_arranged = schema.message.c.outcome != Outcome.IGNORED
    nodes += load_nodes(connection, touched.threads, is_arranged, exclude=replaced)
    sets = DisjointSets()
    for joined in touched.joined:
        sets.join_all(joined)
    return _arrange_sets(connection, nodes, sets, touched.crowded)


def arrange_stored(
    connection: Connection,
    *,
    threads: set[int] | None = None,
    repaired: Mapping[int, Node | None] = MappingProxyType({}),
) -> Iterator[ArrangedSets]:
    """Arrange stored messages again, some sets at a time, to show what their rows should be.

    `threads`: arrange only the sets that these are in. `repaired`: messages (by id) as they
    should be where their rows are damaged or missing, None for one that is to be left out. Takes
    memory for the messages of one step and for the threads that unthreaded pieces join, and time in
    proportion to the messages.
    """
    repaired_nodes = [node for node in repaired.values() if node is not None]
    sets = DisjointSets()
    crowded: set[int] = set()
    for group in _group_stored(connection, repaired, repaired_nodes):
        sets.join_all(group.threads)
        if group.is_crowded:
            crowded |= group.row_ids
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    for node in repaired_nodes:
        nodes_by_thread[node.thread_id].append(node)
    for step in _divide_threads(connection, sets, nodes_by_thread, threads):
        nodes = load_nodes(connection, step, exclude=repaired)
        nodes += [node for thread in step for node in nodes_by_thread.get(thread, ())]
        yield _arrange_sets(connection, nodes, sets, crowded)


def _divide_threads(
    connection: Connection, sets: DisjointSets, more: Iterable[int], wanted: set[int] | None
) -> Iterator[list[int]]:
    """Yield the threads of a step, with all threads of a set in one.

    `more`: threads that may have no stored messages. `wanted`: only sets with one of these.
    """
    joined: set[int] = set()
    step: list[int] = []
    for group in sets.groups():
        joined.update(group)
        if wanted is None or not wanted.isdisjoint(group):
            step += group
        if len(step) >= _THREADS_PER_STEP:
            yield step
            step = []
    yield step
    own: Iterable[list[int]] = chunks(sorted(wanted or ()), size=_THREADS_PER_STEP)
    if wanted is None:
        column = schema.message.c.thread_id
        # Negative ones are of records on further lists, which are not arranged.
        stored = iter_keys(connection, column, column >= 0)
        own = merge_keys(stored, [sorted(more)], size=_THREADS_PER_STEP)
    for threads in own:
        yield [thread for thread in threads if thread not in joined]


def _unthreaded(node: Node) -> UnthreadedPiece | None:
    """Return a message as an unthreaded piece, or None if it is none."""
    if node.ignored:
        return None
    return as_unthreaded(node.facts, node.message_id, node.thread_id)


def _group_stored(
    connection: Connection, repaired: Collection[int], repaired_nodes: Iterable[Node]
) -> Iterator[UnthreadedGroup]:
    """Group the unthreaded pieces of the whole store, with the repaired messages in their place."""
    fresh: dict[int, list[UnthreadedPiece]] = defaultdict(list)
    for node in repaired_nodes:
        if (piece := _unthreaded(node)) is not None:
            fresh[piece.bucket].append(piece)
    message = schema.message.c
    is_piece = (message.date.is_not(None), message.outcome != Outcome.IGNORED)
    buckets = iter_keys(connection, message.bucket, message.bucket.is_not(None))
    for some in merge_keys(buckets, [sorted(fresh)], size=_BUCKETS_PER_STEP):
        pieces = {bucket: fresh.get(bucket, []) for bucket in some}
        query = select(*unthreaded_columns()).where(is_any(message.bucket, some), *is_piece)
        for row in connection.execute(query):
            if row.id not in repaired:
                pieces[row.bucket].append(read_piece(row))
        for of_bucket in pieces.values():
            yield from group_unthreaded(of_bucket)


def _arrange_sets(
    connection: Connection,
    nodes: Sequence[Node],
    sets: DisjointSets,
    crowded: Collection[int],
) -> ArrangedSets:
    """Arrange each set of messages by itself, obeying the operators' pins.

    `crowded`: see `find_reachable`.
    """
    pins = _read_pins(connection, (node.facts.key for node in nodes))
    nodes_by_set: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        nodes_by_set[sets.root(node.thread_id)].append(node)
    arrangements = []
    places: dict[str, Place] = {}
    for set_nodes in nodes_by_set.values():
        members = [node for node in set_nodes if not node.ignored]
        arrangement = arrange(
            (node.facts for node in members),
            pins,
            crowded=[node.facts.key for node in set_nodes if node.message_id in crowded],
            direct=find_direct((node.thread_id, node.facts) for node in members),
        )
        arrangements.append(arrangement)
        places |= arrangement.places
        for node in set_nodes:
            if node.ignored:
                places[node.facts.key] = Place(Outcome.IGNORED, node.ignored)
    return ArrangedSets({node.facts.key: node for node in nodes}, places, tuple(arrangements))


def _read_pins(connection: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Read where operators have put these messages: the key of another message, or ''."""
    return {row.key: row.target for row in _PINS.rows(connection, keys)}


_PINS = KeyedQuery(select(schema.pin.c.key, schema.pin.c.target), schema.pin.c.key)


def _read_threads(connection: Connection, message_ids: Iterable[int]) -> set[int]:
    """Read the threads of messages that change or are removed."""
    message = schema.message.c
    return read_values(connection, select(message.thread_id), message.id, message_ids)


_MESSAGE = schema.message.c
_NODES = select(
    _MESSAGE.id,
    _MESSAGE.thread_id,
    _MESSAGE.msgid,
    _MESSAGE.variant,
    _MESSAGE.date,
    _MESSAGE.facts,
    _MESSAGE.person_id,
    _MESSAGE.outcome,
    _MESSAGE.reason,
    schema.comment.c.parent_id,
).select_from(schema.message.outerjoin(schema.comment, schema.comment.c.message_id == _MESSAGE.id))


def load_nodes(
    connection: Connection,
    threads: Iterable[int],
    *conditions: ColumnElement[bool],
    exclude: Collection[int] = (),
) -> list[Node]:
    """Load the messages of these threads that meet the conditions, except those in `exclude`."""
    nodes = []
    for chunk in chunks(threads):
        chosen = _NODES.where(is_any(_MESSAGE.thread_id, chunk), *conditions)
        for row in connection.execute(chosen).all():
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
                    is_stored=True,
                    outcome=Outcome(row.outcome),
                    reason=row.reason,
                    parent_id=row.parent_id,
                    ignored=row.reason if row.outcome == Outcome.IGNORED else None,
                )
            )
    return nodes
