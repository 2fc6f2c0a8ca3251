"""Messages that change nothing but their own place.

A reply below a message that is known, or the next patch below the cover of a series that holds
no surprises: `arrange` would move nothing else, so the thread, which may be thousands of
messages long, need not be loaded. What is decided here must be what `arrange` decides; where
one message of a thread is not such a leaf, all of that thread's go the whole way.

Input: new messages and how they were linked. Output: `FastPath`, or none. The conditions, and why
each is needed, stand beside them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
from ingest.store.sql import chunks, insert_new_pairs, insert_rows, is_any
from ingest.store.write.arrange import Arranged, Node
from ingest.store.write.threads import LinkedThreads


@frozen
class SeriesJoin:
    """A patch that joins a series: the message that it answers is the evidence."""

    node: Node
    series_id: int
    parent: str


@frozen
class FastPath:
    """`threads`: the threads that are done with this; `arranged`: their new messages and what
    these speak to; `joining`: the patches among them.
    """

    threads: frozenset[int]
    arranged: Arranged
    joining: tuple[SeriesJoin, ...]

    @classmethod
    def none(cls) -> FastPath:
        return cls(frozenset(), Arranged({}, {}, ()), ())


@frozen
class _Above:
    """A message that is answered. `speaks_to`: itself for a patch or cover, else the one that
    it is a comment on, as (key, row id), None where there is none.
    """

    key: str
    piece: bool
    speaks_to: tuple[str, int] | None
    series_id: int | None


@dataclass(slots=True)
class _Series:
    """A series that a patch may join, as stored and with what joins it in this batch."""

    person_id: int
    total: int
    version: tuple[int, int]
    thread_id: int
    taken: set[tuple[int, int]] = field(default_factory=set)


def find_fast_path(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads
) -> FastPath:
    """The threads among these in which every new message is a leaf."""
    by_thread = _candidates(fresh, linked)
    if not by_thread:
        return FastPath.none()
    nodes = [node for some in by_thread.values() for node in some]
    known = _known(connection, {one for node in nodes for one in node.facts.parents})
    pinned = _pinned(connection, [node.facts.key for node in nodes])
    series = _open_series(
        connection, {above.series_id for above in known.values() if above is not None}
    )
    _mark_taken(connection, series, nodes)
    reaching = {thread for thread, _, _ in read_unthreaded(connection, by_thread)}
    places: dict[str, Place] = {}
    joining: list[SeriesJoin] = []
    stubs: dict[str, Node] = {}
    done: set[int] = set()
    for thread, some in by_thread.items():
        placed = _place(some, dict(known), series, pinned)
        if placed is None or (
            thread in reaching and find_reachable(connection, {thread}, []).threads != {thread}
        ):
            continue
        done.add(thread)
        for node, place, row_id, joins in placed:
            places[node.facts.key] = place
            if joins is not None:
                joining.append(joins)
            if place.parent is not None and row_id is not None:
                stubs[place.parent] = _stub(node, row_id)
    mine = {node.facts.key: node for node in nodes if node.thread_id in done}
    for key in stubs.keys() - mine.keys():
        places[key] = Place(Outcome.OTHER, stubs[key].reason)
    return FastPath(frozenset(done), Arranged({**stubs, **mine}, places, ()), tuple(joining))


def _candidates(fresh: Sequence[Node], linked: LinkedThreads) -> dict[int, list[Node]]:
    """Threads in which each new message is new indeed (no row, no other copy, no variant), has
    been named by nobody (an answer to it would be linked anew, as it would by an id that it had
    before), and joins no threads.
    """
    copies = Counter(node.facts.msgid for node in fresh)
    by_thread: dict[int, list[Node]] = defaultdict(list)
    spoilt: set[int] = set(linked.joined)
    for node in fresh:
        by_thread[node.thread_id].append(node)
        facts = node.facts
        if (
            node.outcome is not None
            or node.variant
            or node.ignored
            or copies[facts.msgid] > 1
            or facts.msgid not in linked.new
            or not facts.parents
            or original_id(facts.msgid) is not None
            or (facts.piece and (facts.kind is not MessageKind.PATCH or facts.total is None))
            or (facts.reply and facts.piece)
        ):
            spoilt.add(node.thread_id)
    return {thread: some for thread, some in by_thread.items() if thread not in spoilt}


def _place(
    nodes: Sequence[Node],
    above: dict[str, _Above | None],
    series: dict[int, _Series],
    pinned: set[str],
) -> list[tuple[Node, Place, int | None, SeriesJoin | None]] | None:
    """A place for each, parents first; None where one of them is no leaf."""
    placed: list[tuple[Node, Place, int | None, SeriesJoin | None]] = []
    waiting = {node.facts.msgid: node for node in nodes}
    order = sorted(nodes, key=lambda node: (node.facts.when, node.facts.key))
    while order:
        rest = []
        for node in order:
            facts = node.facts
            if facts.parents[0] in waiting:
                rest.append(node)
                continue
            answered = above.get(facts.parents[0])
            # An unseen id between two others tells where that unseen mail stood, which may
            # move others. (The topmost has none above, and tells nothing.)
            unseen = any(
                above.get(one) is None and one not in waiting for one in facts.parents[:-1]
            )
            if answered is None or unseen or facts.key in pinned:
                return None
            joins = None
            if facts.piece:
                if not _joins(node, answered, series):
                    return None
                assert answered.series_id is not None
                joins = SeriesJoin(node, answered.series_id, answered.key)
                place, row_id = Place(Outcome.PATCH, None), None
                speaks_to: tuple[str, int] | None = (facts.key, node.message_id)
            elif answered.speaks_to is not None:
                speaks_to = answered.speaks_to
                place, row_id = Place(Outcome.COMMENT, "below-patch", speaks_to[0]), speaks_to[1]
            else:
                place, row_id = Place(Outcome.COMMENT, "no-patch-above"), None
                speaks_to = None
            placed.append((node, place, row_id, joins))
            del waiting[facts.msgid]
            above[facts.msgid] = _Above(
                facts.key, facts.piece, speaks_to, joins.series_id if joins else None
            )
        if len(rest) == len(order):
            return None  # they answer each other in a circle
        order = rest
    return placed


def _joins(node: Node, answered: _Above, series: dict[int, _Series]) -> bool:
    """Whether a patch takes a free place in the plain series of the piece that it answers."""
    facts = node.facts
    one = series.get(answered.series_id) if answered.series_id is not None else None
    if one is None or not answered.piece:
        return False
    slot = (facts.number or 0, facts.minor)
    if (
        one.thread_id != node.thread_id
        or one.person_id != node.person_id
        or one.total != facts.total
        or one.version != (facts.version, facts.version_minor)
        or facts.version_given != (one.version != (1, 0))
        or slot in one.taken
        or not 1 <= slot[0] <= one.total
    ):
        return False
    one.taken.add(slot)
    return True


def _known(connection: Connection, msgids: Iterable[str]) -> dict[str, _Above | None]:
    """The stored messages with these ids; None for those whose id several share."""
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
    found: dict[str, _Above | None] = {}
    for some in chunks(msgids):
        for row in connection.execute(query.where(is_any(message.c.msgid, some))):
            if (
                row.msgid in found
                or row.variant
                or row.parent_variant
                or row.outcome == Outcome.IGNORED
            ):
                found[row.msgid] = None
                continue
            speaks_to = None
            if row.outcome in (Outcome.PATCH, Outcome.COVER):
                speaks_to = (row.msgid, row.id)
            elif row.parent_id is not None:
                speaks_to = (row.parent_msgid, row.parent_id)
            found[row.msgid] = _Above(
                row.msgid,
                row.kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL),
                speaks_to,
                row.series_id,
            )
    return found


def _pinned(connection: Connection, keys: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for some in chunks(keys):
        query = select(schema.pin.c.key).where(is_any(schema.pin.c.key, some))
        found.update(connection.execute(query).scalars())
    return found


def _open_series(connection: Connection, ids: Iterable[int | None]) -> dict[int, _Series]:
    """Series that one more patch changes in nothing but their count.

    They are plain: a cover and patches that agree in sender, total and version, found without
    mending, so that they hold no draft's exception. And no series without a cover stands in
    the thread: only such a one could be joined with it, or take its cover, when it grows.
    """
    series = schema.series
    other = series.alias("other")
    torn = (
        select(other.c.id)
        .where(
            other.c.thread_id == series.c.thread_id,
            other.c.id != series.c.id,
            other.c.cover_id.is_(None),
            other.c.total > 1,
        )
        .exists()
    )
    found: dict[int, _Series] = {}
    for some in chunks({one for one in ids if one is not None}):
        query = select(series).where(is_any(series.c.id, some), series.c.fast_path_ok, ~torn)
        for row in connection.execute(query):
            found[row.id] = _Series(
                row.person_id, row.total, (row.version, row.version_minor), row.thread_id
            )
    return found


def _mark_taken(connection: Connection, series: dict[int, _Series], nodes: Sequence[Node]) -> None:
    """Which of the places that these patches ask for are taken."""
    member = schema.member.c
    numbers = {node.facts.number for node in nodes if node.facts.number is not None}
    for some in chunks(series):
        for part in chunks(numbers):
            query = select(member.series_id, member.number, member.minor).where(
                is_any(member.series_id, some), is_any(member.number, part)
            )
            for row in connection.execute(query):
                series[row.series_id].taken.add((row.number, row.minor))


def _stub(node: Node, row_id: int) -> Node:
    """The message that a comment speaks to: only its row's id is needed, nothing is written."""
    return Node(
        message_id=row_id,
        thread_id=node.thread_id,
        variant="",
        facts=node.facts,
        person_id=node.person_id,
        outcome=Outcome.OTHER,
        reason="stands",
    )


def write_fast_path(connection: Connection, leaves: FastPath) -> None:
    """The memberships of the patches that joined series, and the series' counts."""
    insert_rows(
        connection,
        schema.member,
        [
            {
                "message_id": one.node.message_id,
                "series_id": one.series_id,
                "number": one.node.facts.number,
                "minor": one.node.facts.minor,
                "rule": Rule.BELOW,
                "evidence": one.parent,
            }
            for one in leaves.joining
        ],
    )
    traces = {
        (trace, one.series_id) for one in leaves.joining for trace in patch_traces(one.node.facts)
    }
    insert_new_pairs(connection, schema.trace, sorted(traces))
    grown = Counter(one.series_id for one in leaves.joining if not one.node.facts.minor)
    series = schema.series.c
    if grown:
        connection.execute(
            update(schema.series)
            .where(series.id == bindparam("b_id"))
            .values(
                received_total=series.received_total + bindparam("b_more"),
                received_all=series.received_total + bindparam("b_more") >= series.total,
            ),
            [{"b_id": one, "b_more": more} for one, more in sorted(grown.items())],
        )
