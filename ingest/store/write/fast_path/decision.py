"""Find messages that change nothing but their own place, and write them without arranging.

Such a message is a reply below a stored message, the next patch below the cover of a regular
series, a message that replies to exactly the ids to which stored ones reply (a comment, or one of
too many patches), one of too many loose patches, whatever replies to it, or one that is ignored.
`arrange` would move nothing else, so the thread, which
may have thousands of messages, need not be loaded. What is decided here must be what `arrange`
decides. If one new message of a thread cannot take the fast path, none of that thread's can.

Input: new messages and how they were linked. Output: a `FastPath`, which may be empty. Each
condition has a comment or docstring that says why it is needed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, update

from ingest.frozen import frozen
from ingest.mail.msgid import original_id
from ingest.series.arrange import (
    Arrangement,
    Place,
    Series,
    arrange_crowded,
    place_without_patch,
)
from ingest.series.crowd import crowd_of
from ingest.series.draft import Rule
from ingest.series.facts import Facts, MessageKind, bucket
from ingest.series.links.posting import patch_traces
from ingest.series.outcome import Outcome, PlaceReason
from ingest.store import schema
from ingest.store.reachable import UNTHREADED_OF_THREADS, find_reachable, read_unthreaded
from ingest.store.sql.insertion import insert_missing_pairs, insert_rows
from ingest.store.write.arrange import ArrangedSets, Node
from ingest.store.write.fast_path.direct_comments import (
    DirectComments,
    count_threads,
    place_directly,
)
from ingest.store.write.fast_path.patchless_threads import (
    PatchlessThreads,
    place_in_patchless_threads,
)
from ingest.store.write.fast_path.rows import (
    LooseCrowds,
    MessageRef,
    OpenSeries,
    Parent,
    Siblings,
    find_named_by_others,
    has_loose_crowd,
    read_open_series,
    read_parents,
    read_pinned,
    read_taken_slots,
    read_used,
)
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
    summaries of those that they apply to; `joins`: the patches among them that join a series;
    `crowded`: those that are series by themselves, since there are too many of them.
    """

    threads: frozenset[int]
    arranged: ArrangedSets
    joins: tuple[SeriesJoin, ...]
    crowded: ArrangedSets

    def joined_messages(self) -> dict[int, set[int]]:
        """Return the messages that join each series."""
        messages: dict[int, set[int]] = defaultdict(set)
        for join in self.joins:
            messages[join.series_id].add(join.node.message_id)
        return messages

    @classmethod
    def empty(cls) -> FastPath:
        """Return a fast path without messages."""
        return cls(frozenset(), ArrangedSets({}, {}, ()), (), ArrangedSets({}, {}, ()))


@frozen
class _Placed:
    """A new message with its place.

    `comments_on`: the row of the message that it is a comment on; `join`: the series that it
    joins; `series`: the one that it is by itself. At most one of them is not None.
    """

    node: Node
    place: Place
    comments_on: int | None = None
    join: SeriesJoin | None = None
    series: Series | None = None


def find_fast_path(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads
) -> FastPath:
    """Find the threads in which every new message can take the fast path."""
    named = Counter(msgid for node in fresh for msgid in {node.facts.msgid, *node.facts.parents})
    sole = frozenset(msgid for msgid in linked.new_ids if named[msgid] == 1)
    loose = _find_loose(connection, fresh, linked)
    nodes_by_thread = _find_candidates(fresh, linked, sole, loose)
    commented = count_threads(connection, fresh, linked)
    # Elsewhere a comment is placed by another rule, or is one too many.
    nodes_by_thread = {
        thread: nodes
        for thread, nodes in nodes_by_thread.items()
        if thread in commented.few or all(node.facts.piece or node.ignored for node in nodes)
    }
    accepted = {}
    if nodes_by_thread:
        accepted = _place_threads(connection, nodes_by_thread, linked, sole)
    direct = place_directly(connection, fresh, linked, commented.direct - accepted.keys())
    done = accepted.keys() | direct.threads
    patchless = place_in_patchless_threads(connection, fresh, linked, done)
    return _build_fast_path(accepted, direct, patchless)


def _find_loose(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads
) -> frozenset[str]:
    """Find the ids of new patches that may be some of too many loose ones.

    Others may have answered them before, or name unseen mails above them, if all that name them are
    such patches themselves: these have nothing above them. A cover is none, because what answers a
    cover may not be loose.
    """
    by_thread: dict[int, set[str]] = defaultdict(set)
    for node in fresh:
        facts = node.facts
        is_late = facts.msgid not in linked.new_ids
        is_outside = bool(facts.parents) and facts.parents[0] in linked.new_ids
        if (
            (is_late or is_outside)
            and not (node.is_stored or node.variant or node.ignored)
            and facts.kind is MessageKind.PATCH
            and crowd_of(facts) is not None
        ):
            by_thread[node.thread_id].add(facts.msgid)
    found: set[str] = set()
    for thread, msgids in by_thread.items():
        if has_loose_crowd(connection, thread):
            late = msgids - linked.new_ids
            found |= msgids - late
            if late := late - read_used(connection, late):
                found |= late - find_named_by_others(connection, thread, late)
    return frozenset(found)


def _place_threads(
    connection: Connection,
    nodes_by_thread: Mapping[int, Sequence[Node]],
    linked: LinkedThreads,
    sole: frozenset[str],
) -> dict[int, list[_Placed]]:
    """Place the messages of those of these threads in which every one can take the fast path."""
    nodes = [node for thread_nodes in nodes_by_thread.values() for node in thread_nodes]
    parents = read_parents(connection, {msgid for node in nodes for msgid in node.facts.parents})
    pinned = read_pinned(connection, [node.facts.key for node in nodes])
    series = read_open_series(
        connection, {parent.series_id for parent in parents.values() if parent is not None}
    )
    read_taken_slots(connection, series, nodes)
    reaching = {
        piece.thread_id
        for piece in read_unthreaded(connection, UNTHREADED_OF_THREADS, nodes_by_thread)
    }
    accepted: dict[int, list[_Placed]] = {}
    siblings, crowds = Siblings(connection, linked.new_ids), LooseCrowds(connection)
    # Where there is not time for all searches for siblings, the largest threads have precedence.
    for thread in sorted(nodes_by_thread, key=lambda thread: -len(nodes_by_thread[thread])):
        thread_nodes = nodes_by_thread[thread]
        placed = _place_nodes(thread_nodes, dict(parents), series, pinned, siblings, crowds, sole)
        # Unthreaded pieces may connect the thread with others, which must be arranged with it.
        if placed is not None and (
            thread not in reaching
            or all(node.ignored for node in thread_nodes)
            or find_reachable(connection, {thread}).threads == {thread}
        ):
            accepted[thread] = placed
    return accepted


def _build_fast_path(
    accepted: Mapping[int, Sequence[_Placed]], direct: DirectComments, patchless: PatchlessThreads
) -> FastPath:
    """Combine the threads' messages, with a summary of each stored message that they apply to."""
    nodes: dict[str, Node] = {**patchless.nodes, **direct.nodes}
    places: dict[str, Place] = {**patchless.places, **direct.places}
    joins: list[SeriesJoin] = []
    crowded: dict[str, Node] = {}
    all_series: list[Series] = []
    summaries: dict[str, Node] = {}
    for key, place in direct.places.items():
        if place.parent is not None:
            row_id = direct.refs[place.parent].row_id
            summaries[place.parent] = _summarise(direct.nodes[key], row_id)
    for thread_placed in accepted.values():
        for placed in thread_placed:
            node, place = placed.node, placed.place
            nodes[node.facts.key] = node
            places[node.facts.key] = place
            if placed.join is not None:
                joins.append(placed.join)
            if placed.series is not None:
                crowded[node.facts.key] = node
                all_series.append(placed.series)
            if place.parent is not None and placed.comments_on is not None:
                summaries[place.parent] = _summarise(node, placed.comments_on)
    for key in summaries.keys() - nodes.keys():
        places[key] = Place(Outcome.OTHER, summaries[key].reason)
    return FastPath(
        frozenset(accepted) | direct.threads | patchless.threads,
        ArrangedSets({**summaries, **nodes}, places, ()),
        tuple(joins),
        ArrangedSets(crowded, places, (Arrangement(tuple(all_series), places),)),
    )


def _find_candidates(
    fresh: Sequence[Node], linked: LinkedThreads, sole: frozenset[str], loose: frozenset[str]
) -> dict[int, list[Node]]:
    """Find the threads whose new messages are all simple enough, with these messages.

    Each message must be new (no row, no other copy, no variant). No message may have named it
    before: a reply to it would be linked differently now, and so would a reply to an id that it
    had before, or to that of a mail that it was wrapped in. It must be in no bucket, which connects
    threads. And the batch must not have joined threads that both have patches. A new message that
    is ignored takes part in nothing, unless another has to give up its id for it. What is `loose`
    may be named before.
    """
    copies = Counter(node.facts.msgid for node in fresh if not node.ignored)
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    excluded: set[int] = set(linked.joined)
    for node in fresh:
        nodes_by_thread[node.thread_id].append(node)
        facts = node.facts
        takes_id = not node.variant and facts.msgid not in linked.new_ids
        if not node.is_stored and node.ignored and not takes_id:
            continue
        if (
            node.is_stored
            or node.variant
            or node.ignored
            or copies[facts.msgid] > 1
            or not (facts.msgid in linked.new_ids or facts.msgid in loose)
            or not facts.parents
            or original_id(facts.msgid) is not None
            or facts.aliases
            or bucket(facts) is not None
            or (
                facts.parents[0] in linked.new_ids
                and facts.msgid not in loose
                and not _may_join(facts, copies, sole)
            )
        ):
            excluded.add(node.thread_id)
    return {thread: nodes for thread, nodes in nodes_by_thread.items() if thread not in excluded}


def _may_join(facts: Facts, msgids: Collection[str], sole: frozenset[str]) -> bool:
    """Tell whether a message that replies to a new id, and so has no siblings, can be placed.

    It replies to one of the batch (`msgids`), and is a comment or a patch of a series. Or it is a
    comment that also names others than the new ones that nothing else names.
    """
    if not facts.piece and facts.parents[0] in sole:
        return not sole.issuperset(facts.parents)
    is_patch = facts.kind is MessageKind.PATCH and facts.total is not None and not facts.reply
    return facts.parents[0] in msgids and (is_patch or not facts.piece)


def _place_nodes(
    nodes: Sequence[Node],
    parents: dict[str, Parent | None],
    series: Mapping[int, OpenSeries],
    pinned: Collection[str],
    siblings: Siblings,
    crowds: LooseCrowds,
    sole: frozenset[str],
) -> list[_Placed] | None:
    """Place the new messages of a thread, parents first.

    Returns None if one of them cannot take the fast path. Adds the messages to `parents`.
    """
    result = [_Placed(node, Place(Outcome.IGNORED, node.ignored)) for node in nodes if node.ignored]
    waiting = {node.facts.msgid: node for node in nodes if not node.ignored}
    remaining = sorted(
        (node for node in nodes if not node.ignored),
        key=lambda node: (node.facts.when, node.facts.key),
    )
    while remaining:
        postponed = []
        for node in remaining:
            facts = node.facts
            if facts.parents[0] in waiting:
                postponed.append(node)
                continue
            if facts.key in pinned:
                return None
            placed = None
            # What answers a patch that joins a series may not be loose any more.
            if facts.msgid in siblings.new_ids:
                placed = _place_below(node, parents, waiting, series, sole)
                if placed is None:
                    placed = _place_like_siblings(node, parents, siblings)
            if placed is None and facts.piece:
                placed = _place_in_crowd(node, parents, crowds)
            if placed is None:
                return None
            result.append(placed)
            del waiting[facts.msgid]
            parents[facts.msgid] = _as_parent(placed)
        if len(postponed) == len(remaining):
            return None  # they reply to each other in a circle
        remaining = postponed
    return result


def _place_below(
    node: Node,
    parents: Mapping[str, Parent | None],
    waiting: Collection[str],
    series: Mapping[int, OpenSeries],
    sole: frozenset[str],
) -> _Placed | None:
    """Place one message below its parent, None if that is unknown or it cannot simply join.

    What it says of unseen mails that nothing else names (`sole`) changes nothing for others.
    """
    facts = node.facts
    seen = [msgid for msgid in facts.parents if msgid not in sole] if sole else [*facts.parents]
    parent = parents.get(seen[0]) if seen else None
    if parent is None or _names_unseen(seen, parents, waiting):
        return None
    is_below_unseen = seen[0] != facts.parents[0]
    if facts.piece:
        if is_below_unseen or not _take_slot(node, parent, series):
            return None
        assert parent.series_id is not None
        join = SeriesJoin(node, parent.series_id, parent.key)
        return _Placed(node, Place(Outcome.PATCH, None), join=join)
    if parent.applies_to is None:
        return _Placed(node, place_without_patch(facts, not is_below_unseen))
    key, row_id = parent.applies_to
    return _Placed(node, Place(Outcome.COMMENT, PlaceReason.BELOW_PATCH, key), row_id)


def _names_unseen(
    named: Sequence[str], parents: Mapping[str, Parent | None], waiting: Collection[str]
) -> bool:
    """Tell whether a message that names these moves others: it tells where an unseen mail is.

    An unseen id between two others does. The topmost id has none above it, and tells nothing.
    """
    return any(parents.get(msgid) is None and msgid not in waiting for msgid in named[:-1])


def _place_in_crowd(
    node: Node, parents: Mapping[str, Parent | None], crowds: LooseCrowds
) -> _Placed | None:
    """Place a loose piece where its sender has sent too many; None where that is not certain.

    What it says of unseen mails does not count.
    """
    facts = node.facts
    parent = parents.get(facts.parents[0])
    is_shared = parent is None and facts.parents[0] in parents
    if is_shared or crowd_of(facts) is None:
        return None
    if parent is not None and parent.is_piece and not parent.is_loose:
        is_fresh = parent.series_id is None  # of the same batch: it cannot be read
        if is_fresh or not crowds.is_loose(facts):
            return None
    evidence = crowds.find(node)
    if evidence is None:
        return None
    series = arrange_crowded(facts, evidence, None)
    outcome = Outcome.COVER if series.cover is not None else Outcome.PATCH
    return _Placed(node, Place(outcome, None), series=series)


def _place_like_siblings(
    node: Node, parents: Mapping[str, Parent | None], siblings: Siblings
) -> _Placed | None:
    """Place one message where those are that reply to the same ids; None if there are none.

    Patches are only placed so where they are crowded, which makes each a series by itself.
    """
    facts = node.facts
    known = [parents[msgid] for msgid in facts.parents if msgid in parents]
    if None in known or (sibling := siblings.find(node)) is None:
        return None
    if facts.piece:
        series = arrange_crowded(facts, facts.parents[0], sibling.parent_series)
        outcome = Outcome.COVER if series.cover is not None else Outcome.PATCH
        return _Placed(node, Place(outcome, None), series=series)
    if sibling.applies_to is None:
        return _Placed(node, Place(Outcome.COMMENT, sibling.reason))
    key, row_id = sibling.applies_to
    return _Placed(node, Place(Outcome.COMMENT, sibling.reason, key), row_id)


def _as_parent(placed: _Placed) -> Parent:
    """Return a message that was just placed as the parent of later ones."""
    facts = placed.node.facts
    applies_to = None
    if facts.piece:
        applies_to = MessageRef(facts.key, placed.node.message_id)
    elif placed.place.parent is not None and placed.comments_on is not None:
        applies_to = MessageRef(placed.place.parent, placed.comments_on)
    series_id = placed.join.series_id if placed.join else None
    is_loose = placed.series is not None and (placed.series.members[0].evidence != facts.parents[0])
    return Parent(facts.key, facts.piece, applies_to, series_id, is_loose)


def _take_slot(node: Node, parent: Parent, series: Mapping[int, OpenSeries]) -> bool:
    """Let a patch take a free slot in the open series of its parent. Returns whether it does."""
    facts = node.facts
    if facts.kind is not MessageKind.PATCH or facts.total is None or facts.reply:
        return False
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
        is_stored=True,
        outcome=Outcome.OTHER,
        reason=_UNCHANGED,
    )


def write_fast_path(connection: Connection, fast_path: FastPath) -> None:
    """Write the patches that join a series: members and traces, and the counts of the series.

    The series of crowded patches are written as any arranged set is.
    """
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
