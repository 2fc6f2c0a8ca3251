"""Place new comments directly in threads that have too many, without loading these threads.

There a comment is below the nearest patch or cover that it names, else where the mail is that it
answers, if that was received (`series.comments`). So it changes nothing but its own place and that
of comments which name no patch and answer it, or answer such a comment. Each of those finds a patch
once, and keeps it.

Input: new messages and how they were linked. Output: their places, and the stored messages whose
place changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from ingest.frozen import frozen
from ingest.series.arrange import Place, place_without_patch
from ingest.series.comments import MAX_COMMENTS
from ingest.series.outcome import Outcome, PlaceReason
from ingest.series.thread import nearest_named, others_named
from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.write.arrange import Node, load_nodes
from ingest.store.write.fast_path.patchless_threads import is_simple_comment
from ingest.store.write.fast_path.rows import (
    MessageRef,
    Parent,
    read_parents,
    read_pinned,
    read_regular_pieces,
    read_used,
    read_used_aliases,
)
from ingest.store.write.threads import (
    LinkedThreads,
    count_comments,
    count_pieces_by_place,
    find_large_threads,
)


@frozen
class CommentedThreads:
    """The threads with new comments by how many they have, the new ones included.

    `direct`: they had too many before; `few`: they have not too many. In the others, the new ones
    are one too many, or that is not certain: all their messages must be arranged.
    """

    direct: frozenset[int]
    few: frozenset[int]


@frozen
class DirectComments:
    """The threads, and their messages that are new or have another place, by key.

    `refs`: the messages that they apply to, by key.
    """

    threads: frozenset[int]
    nodes: Mapping[str, Node]
    places: Mapping[str, Place]
    refs: Mapping[str, MessageRef]


def count_threads(
    connection: Connection, fresh: Iterable[Node], linked: LinkedThreads
) -> CommentedThreads:
    """Find out which of the threads of new comments have too many of them."""
    new = Counter(
        node.thread_id for node in fresh if not (node.is_stored or node.ignored or node.facts.piece)
    )
    most = max(new.values(), default=0)
    large = find_large_threads(connection, new, MAX_COMMENTS - most)
    comments = count_comments(connection, large)
    many = {thread for thread in large if comments[thread] > MAX_COMMENTS}
    by_place = count_pieces_by_place(connection, large - many)
    few = {
        thread
        for thread in large - many
        if comments[thread] + by_place[thread] + new[thread] <= MAX_COMMENTS
    }
    return CommentedThreads(frozenset(many - linked.grown), frozenset(few | (new.keys() - large)))


def place_directly(
    connection: Connection,
    fresh: Sequence[Node],
    linked: LinkedThreads,
    threads: Collection[int],
) -> DirectComments:
    """Place the messages of those of these threads, which have too many comments, that can be.

    All new messages of a thread must be comments, each the only one of its id, and known by that
    only.
    """
    nodes_by_thread = _find_candidates(connection, fresh, linked, threads) if threads else {}
    if not nodes_by_thread:
        return DirectComments(frozenset(), {}, {}, {})
    nodes = [node for thread_nodes in nodes_by_thread.values() for node in thread_nodes]
    parents = read_parents(connection, {msgid for node in nodes for msgid in node.facts.parents})
    unclear = {msgid for msgid, parent in parents.items() if parent is None}
    placing = _Placing(connection, parents, linked.new_ids)
    done = [
        thread
        for thread, thread_nodes in nodes_by_thread.items()
        if all(unclear.isdisjoint(node.facts.parents) for node in thread_nodes)
        and placing.place(thread, thread_nodes)
    ]
    return DirectComments(frozenset(done), placing.nodes, placing.places, placing.refs)


def _find_candidates(
    connection: Connection,
    fresh: Sequence[Node],
    linked: LinkedThreads,
    threads: Collection[int],
) -> dict[int, list[Node]]:
    """Find those of these threads whose new messages are all simple enough, with these."""
    copies = Counter(node.facts.msgid for node in fresh)
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    excluded = set(linked.joined)
    for node in fresh:
        if node.thread_id not in threads:
            continue
        nodes_by_thread[node.thread_id].append(node)
        if not is_simple_comment(node, copies):
            excluded.add(node.thread_id)
    found = [node for nodes in nodes_by_thread.values() for node in nodes]
    late = {node.facts.msgid for node in found} - linked.new_ids
    answered = {msgid for node in found if (msgid := nearest_named(node.facts)) is not None}
    # An id may be that of a stored message, or one of several that it has: its replies would be
    # linked in another way now.
    unclear = read_used(connection, late) | read_used_aliases(connection, late | answered)
    pinned = read_pinned(connection, [node.facts.key for node in found])
    excluded |= {
        node.thread_id
        for node in found
        if node.facts.key in pinned
        or node.facts.msgid in unclear
        or nearest_named(node.facts) in unclear
    }
    return {thread: nodes for thread, nodes in nodes_by_thread.items() if thread not in excluded}


class _Placing:
    """The places of the new messages, thread by thread, and of stored ones that change theirs."""

    def __init__(
        self,
        connection: Connection,
        parents: Mapping[str, Parent | None],
        new_ids: Collection[str],
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.places: dict[str, Place] = {}
        self.refs: dict[str, MessageRef] = {}
        self._connection = connection
        self._parents = parents
        self._new_ids = new_ids

    def place(self, thread: int, nodes: Sequence[Node]) -> bool:
        """Place these, which are all new messages of a thread. Returns False if they cannot be."""
        new = {node.facts.msgid: node for node in nodes}
        late = new.keys() - self._new_ids
        applied = {
            msgid: ref for msgid, node in new.items() if (ref := self._find_above(node)) is not None
        }
        moved = self._follow_replies(thread, new, late, applied)
        answering = self._read_replies(thread, late - applied.keys())
        if (late or moved or answering) and not self._is_apart(
            thread, late, has_moved=bool(moved or answering)
        ):
            return False
        for msgid, node in (new | moved).items():
            ref = applied.get(msgid)
            if ref is not None:
                self.refs[ref.key] = ref
                place = Place(Outcome.COMMENT, PlaceReason.BELOW_PATCH, ref.key)
            else:
                place = self._place_without_patch(node, new)
            self._add(node, place)
        for node in answering.values():
            if node.facts.msgid not in applied:
                self._add(node, place_without_patch(node.facts, is_answered_seen=True))
        return True

    def _add(self, node: Node, place: Place) -> None:
        self.nodes[node.facts.key] = node
        self.places[node.facts.key] = place

    def _find_above(self, node: Node) -> MessageRef | None:
        """Return what a new message applies to, as far as stored messages tell."""
        named = list(others_named(node.facts))
        for msgid in named:
            parent = self._parents.get(msgid)
            if parent is not None and parent.is_piece:
                return parent.applies_to
        answered = self._parents.get(named[0]) if named else None
        return answered.applies_to if answered is not None else None

    def _follow_replies(
        self,
        thread: int,
        new: Mapping[str, Node],
        late: set[str],
        applied: dict[str, MessageRef],
    ) -> dict[str, Node]:
        """Add to `applied` the messages without a patch that answer one that has one.

        Returns the stored ones.
        """
        answers: dict[str, list[str]] = defaultdict(list)
        for msgid, node in new.items():
            if msgid not in applied and (answered := nearest_named(node.facts)) is not None:
                answers[answered].append(msgid)
        stored: dict[str, Node] = {}
        recent = dict(applied)
        while recent:
            found: dict[str, MessageRef] = {}
            # Nothing answers a mail whose id nothing has named.
            replies = self._read_replies(thread, recent.keys() & (late | stored.keys()))
            for msgid, reply in replies.items():
                if msgid not in applied:
                    found[msgid] = recent[reply.facts.parents[0]]
                    stored[msgid] = reply
            for above, ref in recent.items():
                found |= {msgid: ref for msgid in answers.get(above, ()) if msgid not in applied}
            applied |= found
            recent = found
        return stored

    def _read_replies(self, thread: int, msgids: Collection[str]) -> dict[str, Node]:
        """Read the stored messages without a patch that answer one of these."""
        message = schema.message.c
        is_placed_nowhere = (
            message.outcome == Outcome.COMMENT,
            message.reason.in_((PlaceReason.PARENT_UNSEEN, PlaceReason.NO_PATCH_ABOVE)),
        )
        return {
            node.facts.msgid: node
            for chunk in chunks(msgids)
            for node in load_nodes(
                self._connection, [thread], *is_placed_nowhere, is_any(message.in_reply_to, chunk)
            )
        }

    def _is_apart(self, thread: int, late: set[str], *, has_moved: bool) -> bool:
        """Tell whether no patch or cover is below what changes.

        None may name a mail that was unseen until now. Where comments move, none may be below a
        comment at all: which are below those that move is not known here.
        """
        pieces = read_regular_pieces(self._connection, thread)
        if pieces is None:
            return False
        known = {facts.msgid for facts in pieces}
        return all(
            late.isdisjoint(facts.parents)
            and (not has_moved or not facts.parents or facts.parents[0] in known)
            for facts in pieces
        )

    def _place_without_patch(self, node: Node, new: Mapping[str, Node]) -> Place:
        answered = nearest_named(node.facts)
        is_seen = None if answered is None else answered in self._parents or answered in new
        return place_without_patch(node.facts, is_seen)
