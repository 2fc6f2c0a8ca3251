"""Find messages that change nothing but their own place, and write them without arranging.

Such a message is a reply below a stored message, or the next patch below the cover of a regular
series. `arrange` would move nothing else, so the thread, which may have thousands of messages,
need not be loaded. What is decided here must be what `arrange` decides. If one new message of a
thread cannot take the fast path, none of that thread's can.

Input: new messages and how they were linked. Output: a `FastPath`, which may be empty. Each
condition has a comment or docstring that says why it is needed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from ingest.frozen import frozen
from ingest.mail.msgid import original_id
from ingest.series.arrange import Place
from ingest.series.draft import Rule
from ingest.series.facts import MessageKind
from ingest.series.outcome import Outcome
from ingest.series.supersede import patch_traces
from ingest.store import schema
from ingest.store.reachable import find_reachable, read_unthreaded
from ingest.store.sql import chunks, insert_missing_pairs, insert_rows, is_any
from ingest.store.write.arrange import ArrangedSets, Node
from ingest.store.write.threads import LinkedThreads


@frozen
class SeriesJoin:
    """A patch that joins a series. `parent`, the message that it replies to, is the evidence."""

    node: Node
    series_id: int
    parent: str


@frozen
class FastPath:
    """The messages that need no arranging.

    `threads`: the threads all of whose new messages are here; `arranged`: these messages and
    summaries of those that they apply to; `joins`: the patches among them.
    """

    threads: frozenset[int]
    arranged: ArrangedSets
    joins: tuple[SeriesJoin, ...]

    @classmethod
    def empty(cls) -> FastPath:
        """Return a fast path without messages."""
        return cls(frozenset(), ArrangedSets({}, {}, ()), ())


class _MessageRef(NamedTuple):
    """A message by its key and its row id."""

    key: str
    row_id: int


@frozen
class _Parent:
    """A message that is replied to.

    `applies_to`: the message itself if it is a patch or cover, else the one that it is a comment
    on, None where there is none.
    """

    key: str
    is_piece: bool
    applies_to: _MessageRef | None
    series_id: int | None


@dataclass(slots=True)
class _OpenSeries:
    """A series that a patch may join: as stored, and with what joins it in this batch.

    `taken_slots`: the numbers (number, minor) that cannot be joined again.
    """

    person_id: int
    total: int
    version: tuple[int, int]
    thread_id: int
    taken_slots: set[tuple[int, int]] = field(default_factory=set)


@frozen
class _Placed:
    """A new message with its place.

    `comments_on`: the row of the message that it is a comment on; `join`: the series that it
    joins. At most one of them is not None.
    """

    node: Node
    place: Place
    comments_on: int | None
    join: SeriesJoin | None


def find_fast_path(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads
) -> FastPath:
    """Find the threads in which every new message can take the fast path."""
    nodes_by_thread = _find_candidates(fresh, linked)
    if not nodes_by_thread:
        return FastPath.empty()
    nodes = [node for thread_nodes in nodes_by_thread.values() for node in thread_nodes]
    parents = _read_parents(connection, {msgid for node in nodes for msgid in node.facts.parents})
    pinned = _read_pinned(connection, [node.facts.key for node in nodes])
    series = _read_open_series(
        connection, {parent.series_id for parent in parents.values() if parent is not None}
    )
    _read_taken_slots(connection, series, nodes)
    reaching = {
        piece.thread_id
        for piece in read_unthreaded(connection, schema.message.c.thread_id, nodes_by_thread)
    }
    accepted: dict[int, list[_Placed]] = {}
    for thread, thread_nodes in nodes_by_thread.items():
        placed = _place_nodes(thread_nodes, dict(parents), series, pinned)
        # Unthreaded pieces may connect the thread with others, which must be arranged with it.
        if placed is not None and (
            thread not in reaching or find_reachable(connection, {thread}).threads == {thread}
        ):
            accepted[thread] = placed
    return _build_fast_path(accepted)


def _build_fast_path(accepted: Mapping[int, Sequence[_Placed]]) -> FastPath:
    """Combine the threads' messages, with a summary of each stored message that they apply to."""
    nodes: dict[str, Node] = {}
    places: dict[str, Place] = {}
    joins: list[SeriesJoin] = []
    summaries: dict[str, Node] = {}
    for thread_placed in accepted.values():
        for placed in thread_placed:
            node, place = placed.node, placed.place
            nodes[node.facts.key] = node
            places[node.facts.key] = place
            if placed.join is not None:
                joins.append(placed.join)
            if place.parent is not None and placed.comments_on is not None:
                summaries[place.parent] = _summarise(node, placed.comments_on)
    for key in summaries.keys() - nodes.keys():
        places[key] = Place(Outcome.OTHER, summaries[key].reason)
    return FastPath(
        frozenset(accepted), ArrangedSets({**summaries, **nodes}, places, ()), tuple(joins)
    )


def _find_candidates(fresh: Sequence[Node], linked: LinkedThreads) -> dict[int, list[Node]]:
    """Find the threads whose new messages are all simple enough, with these messages.

    Each message must be new (no row, no other copy, no variant). No message may have named it
    before: a reply to it would be linked differently now, and so would a reply to an id that it
    had before, or to that of a mail that it was wrapped in. And the batch must not have joined the
    thread with another.
    """
    copies = Counter(node.facts.msgid for node in fresh)
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    excluded: set[int] = set(linked.joined)
    for node in fresh:
        nodes_by_thread[node.thread_id].append(node)
        facts = node.facts
        if (
            node.outcome is not None
            or node.variant
            or node.ignored
            or copies[facts.msgid] > 1
            or facts.msgid not in linked.new_ids
            or not facts.parents
            or original_id(facts.msgid) is not None
            or facts.aliases
            or (facts.piece and (facts.kind is not MessageKind.PATCH or facts.total is None))
            or (facts.reply and facts.piece)
        ):
            excluded.add(node.thread_id)
    return {thread: nodes for thread, nodes in nodes_by_thread.items() if thread not in excluded}


def _place_nodes(
    nodes: Sequence[Node],
    parents: dict[str, _Parent | None],
    series: Mapping[int, _OpenSeries],
    pinned: set[str],
) -> list[_Placed] | None:
    """Place the new messages of a thread, parents first.

    Returns None if one of them cannot take the fast path. Adds the messages to `parents`.
    """
    result: list[_Placed] = []
    waiting = {node.facts.msgid: node for node in nodes}
    remaining = sorted(nodes, key=lambda node: (node.facts.when, node.facts.key))
    while remaining:
        postponed = []
        for node in remaining:
            facts = node.facts
            if facts.parents[0] in waiting:
                postponed.append(node)
                continue
            parent = parents.get(facts.parents[0])
            # An unseen id between two others tells where that unseen mail is in the thread, which
            # may move others. (The topmost id has none above it, and tells nothing.)
            names_unseen = any(
                parents.get(msgid) is None and msgid not in waiting for msgid in facts.parents[:-1]
            )
            if parent is None or names_unseen or facts.key in pinned:
                return None
            placed = _place_node(node, parent, series)
            if placed is None:
                return None
            result.append(placed)
            del waiting[facts.msgid]
            parents[facts.msgid] = _as_parent(placed)
        if len(postponed) == len(remaining):
            return None  # they reply to each other in a circle
        remaining = postponed
    return result


def _place_node(node: Node, parent: _Parent, series: Mapping[int, _OpenSeries]) -> _Placed | None:
    """Place one message below its parent, None if it is a patch that cannot simply join."""
    if node.facts.piece:
        if not _take_slot(node, parent, series):
            return None
        assert parent.series_id is not None
        join = SeriesJoin(node, parent.series_id, parent.key)
        return _Placed(node, Place(Outcome.PATCH, None), None, join)
    if parent.applies_to is None:
        return _Placed(node, Place(Outcome.COMMENT, "no-patch-above"), None, None)
    key, row_id = parent.applies_to
    return _Placed(node, Place(Outcome.COMMENT, "below-patch", key), row_id, None)


def _as_parent(placed: _Placed) -> _Parent:
    """Return a message that was just placed as the parent of later ones."""
    facts = placed.node.facts
    applies_to = None
    if facts.piece:
        applies_to = _MessageRef(facts.key, placed.node.message_id)
    elif placed.place.parent is not None and placed.comments_on is not None:
        applies_to = _MessageRef(placed.place.parent, placed.comments_on)
    series_id = placed.join.series_id if placed.join else None
    return _Parent(facts.key, facts.piece, applies_to, series_id)


def _take_slot(node: Node, parent: _Parent, series: Mapping[int, _OpenSeries]) -> bool:
    """Let a patch take a free slot in the open series of its parent. Returns whether it does."""
    facts = node.facts
    target = series.get(parent.series_id) if parent.series_id is not None else None
    if target is None or not parent.is_piece:
        return False
    slot = (facts.number or 0, facts.minor)
    if (
        target.thread_id != node.thread_id
        or target.person_id != node.person_id
        or target.total != facts.total
        or target.version != (facts.version, facts.version_minor)
        or facts.version_given != (target.version != (1, 0))
        or slot in target.taken_slots
        or not 1 <= slot[0] <= target.total
    ):
        return False
    target.taken_slots.add(slot)
    return True


def _read_parents(connection: Connection, msgids: Iterable[str]) -> dict[str, _Parent | None]:
    """Read the stored messages with these ids; None for an id that several messages share."""
    message, comment, member = schema.message, schema.comment, schema.member
    parent = schema.message.alias("parent")
    query = select(
        message.c.id,
        message.c.msgid,
        message.c.variant,
        message.c.outcome,
        message.c.kind,
        comment.c.parent_id,
        parent.c.msgid.label("parent_msgid"),
        parent.c.variant.label("parent_variant"),
        member.c.series_id,
    ).select_from(
        message.outerjoin(comment, comment.c.message_id == message.c.id)
        .outerjoin(parent, parent.c.id == comment.c.parent_id)
        .outerjoin(member, member.c.message_id == message.c.id)
    )
    parents: dict[str, _Parent | None] = {}
    for chunk in chunks(msgids):
        for row in connection.execute(query.where(is_any(message.c.msgid, chunk))):
            if (
                row.msgid in parents
                or row.variant
                or row.parent_variant
                or row.outcome == Outcome.IGNORED
            ):
                parents[row.msgid] = None
                continue
            applies_to = None
            if row.outcome in (Outcome.PATCH, Outcome.COVER):
                applies_to = _MessageRef(row.msgid, row.id)
            elif row.parent_id is not None:
                applies_to = _MessageRef(row.parent_msgid, row.parent_id)
            parents[row.msgid] = _Parent(
                row.msgid,
                row.kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL),
                applies_to,
                row.series_id,
            )
    return parents


def _read_pinned(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Read which of these messages an operator has pinned."""
    pinned: set[str] = set()
    for chunk in chunks(keys):
        query = select(schema.pin.c.key).where(is_any(schema.pin.c.key, chunk))
        pinned.update(connection.execute(query).scalars())
    return pinned


def _read_open_series(connection: Connection, ids: Iterable[int | None]) -> dict[int, _OpenSeries]:
    """Read the series in which one more patch changes nothing but the number of patches.

    They are regular (`series.fast_path_ok`): a cover and patches that agree in sender, total and
    version, grouped without a repair, so that no exception of a draft applies to them. And the
    thread has no series without a cover: only such a series could be joined with this one, or
    take its cover, when it grows.
    """
    series = schema.series
    other = series.alias("other")
    has_coverless = (
        select(other.c.id)
        .where(
            other.c.thread_id == series.c.thread_id,
            other.c.id != series.c.id,
            other.c.cover_id.is_(None),
            other.c.total > 1,
        )
        .exists()
    )
    open_series: dict[int, _OpenSeries] = {}
    for chunk in chunks({series_id for series_id in ids if series_id is not None}):
        query = select(series).where(
            is_any(series.c.id, chunk), series.c.fast_path_ok, ~has_coverless
        )
        for row in connection.execute(query):
            open_series[row.id] = _OpenSeries(
                row.person_id, row.total, (row.version, row.version_minor), row.thread_id
            )
    return open_series


def _read_taken_slots(
    connection: Connection, series: Mapping[int, _OpenSeries], nodes: Sequence[Node]
) -> None:
    """Note, in `series`, which of the slots that these patches need are taken."""
    member = schema.member.c
    numbers = {node.facts.number for node in nodes if node.facts.number is not None}
    for series_chunk in chunks(series):
        for number_chunk in chunks(numbers):
            query = select(member.series_id, member.number, member.minor).where(
                is_any(member.series_id, series_chunk), is_any(member.number, number_chunk)
            )
            for row in connection.execute(query):
                series[row.series_id].taken_slots.add((row.number, row.minor))


# The reason of a summary and of its place: being equal, as their outcomes are, nothing is written.
_UNCHANGED = "unchanged"


def _summarise(comment: Node, row_id: int) -> Node:
    """Return a summary of the message that a comment applies to.

    Only its row id is used, and nothing of it is written.
    """
    return Node(
        message_id=row_id,
        thread_id=comment.thread_id,
        variant="",
        facts=comment.facts,
        person_id=comment.person_id,
        outcome=Outcome.OTHER,
        reason=_UNCHANGED,
    )


def write_fast_path(connection: Connection, fast_path: FastPath) -> None:
    """Write the members and traces of the patches that join series, and the series' counts."""
    joins = fast_path.joins
    insert_rows(
        connection,
        schema.member,
        [
            {
                "message_id": join.node.message_id,
                "series_id": join.series_id,
                "number": join.node.facts.number,
                "minor": join.node.facts.minor,
                "rule": Rule.BELOW,
                "evidence": join.parent,
            }
            for join in joins
        ],
    )
    traces = {(trace, join.series_id) for join in joins for trace in patch_traces(join.node.facts)}
    insert_missing_pairs(connection, schema.trace, sorted(traces))
    growth = Counter(join.series_id for join in joins if not join.node.facts.minor)
    series = schema.series.c
    if growth:
        connection.execute(
            update(schema.series)
            .where(series.id == bindparam("b_id"))
            .values(
                received_total=series.received_total + bindparam("b_more"),
                received_all=series.received_total + bindparam("b_more") >= series.total,
            ),
            [{"b_id": series_id, "b_more": more} for series_id, more in sorted(growth.items())],
        )
