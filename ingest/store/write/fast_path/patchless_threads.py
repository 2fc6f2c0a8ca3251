"""Place new messages in threads that have no patches, without loading these threads.

Where a thread has neither patch nor cover, the place of a message depends on one thing: whether the
mail that it answers was received (`place_without_patch`). So a new message changes nothing but its
own place and that of the messages that answer it, however long the thread is, in whichever order
its mails arrive, and however many threads it joins.

Input: new messages and how they were linked. Output: their places, and the stored messages whose
place changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.mail.msgid import original_id
from ingest.series.arrange import Place, place_without_patch
from ingest.series.outcome import Outcome, PlaceReason
from ingest.series.thread import nearest_named
from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.write.arrange import Node, load_nodes
from ingest.store.write.fast_path.rows import read_used, read_used_aliases
from ingest.store.write.threads import LinkedThreads, read_threads_with_patches


@frozen
class PatchlessThreads:
    """The threads, and their messages that are new or have another place, by key."""

    threads: frozenset[int]
    nodes: Mapping[str, Node]
    places: Mapping[str, Place]


def place_in_patchless_threads(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads, done: Collection[int]
) -> PatchlessThreads:
    """Place the messages of those threads, but `done`, that have only messages without patches."""
    candidates = _find_candidates(fresh, done)
    if not candidates:
        return PatchlessThreads(frozenset(), {}, {})
    nodes = [node for thread_nodes in candidates.values() for node in thread_nodes]
    known = {node.facts.msgid for node in nodes} - linked.new_ids
    named = {nearest_named(node.facts) for node in nodes}
    answered = {msgid for msgid in named if msgid is not None and msgid not in linked.new_ids}
    seen = _read_seen(connection, answered)
    # An id may be that of a stored message, or one of several that it has: its replies would be
    # linked in another way now.
    unclear = read_used(connection, known) | read_used_aliases(connection, known | answered)
    excluded = read_threads_with_patches(connection, candidates)
    excluded |= {
        node.thread_id
        for node in nodes
        if node.facts.msgid in unclear or nearest_named(node.facts) in unclear
    }
    threads = frozenset(candidates.keys() - excluded)
    placed = {node.facts.key: node for node in nodes if node.thread_id in threads}
    seen |= {node.facts.msgid for node in placed.values()}
    places = {}
    for key, node in placed.items():
        msgid = nearest_named(node.facts)
        is_seen = None if msgid is None else msgid in seen
        places[key] = place_without_patch(node.facts, is_seen)
    for reply in _read_replies(connection, threads, known):
        placed[reply.facts.key] = reply
        places[reply.facts.key] = place_without_patch(reply.facts, is_answered_seen=True)
    return PatchlessThreads(threads, placed, places)


def _find_candidates(fresh: Sequence[Node], done: Collection[int]) -> dict[int, list[Node]]:
    """Find the threads whose new messages are all no patches, and known by one id only."""
    copies = Counter(node.facts.msgid for node in fresh)
    nodes_by_thread: dict[int, list[Node]] = defaultdict(list)
    excluded = set(done)
    for node in fresh:
        nodes_by_thread[node.thread_id].append(node)
        if not is_simple_comment(node, copies):
            excluded.add(node.thread_id)
    return {thread: nodes for thread, nodes in nodes_by_thread.items() if thread not in excluded}


def is_simple_comment(node: Node, copies: Mapping[str, int]) -> bool:
    """Tell whether a new message is no patch, the only one of its id, and known by that only.

    `copies`: how many messages of the batch have each id.
    """
    facts = node.facts
    return not (
        node.is_stored
        or node.variant
        or node.ignored
        or facts.piece
        or copies[facts.msgid] > 1
        or facts.aliases
        or original_id(facts.msgid) is not None
    )


def _read_seen(connection: Connection, msgids: Iterable[str]) -> set[str]:
    """Read which of these ids are those of messages that take part in arranging."""
    message = schema.message.c
    query = select(message.msgid).where(message.outcome != Outcome.IGNORED)
    return read_values(connection, query, message.msgid, msgids)


def _read_replies(
    connection: Connection, threads: Collection[int], msgids: Collection[str]
) -> list[Node]:
    """Read the messages of these threads that answer one of these ids, which was unseen."""
    message = schema.message.c
    is_reply = (message.outcome == Outcome.COMMENT, message.reason == PlaceReason.PARENT_UNSEEN)
    return [
        node
        for chunk in chunks(msgids)
        for node in load_nodes(connection, threads, *is_reply, is_any(message.in_reply_to, chunk))
    ]
