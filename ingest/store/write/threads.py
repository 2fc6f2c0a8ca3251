"""Which thread an id belongs to, and the joining of threads that a message connects.

A thread is a connected set of ids under In-Reply-To and References, ids of mail not yet seen
included. Links only ever add up: whatever order they come in, the sets are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select, update

from ingest.frozen import frozen
from ingest.series.facts import digest63
from ingest.store import schema
from ingest.store.sql import chunks, insert_rows, is_any


@frozen
class LinkedThreads:
    """`thread`: of every id given; `new`: the ids that nothing had named before; `joined`: the
    threads that were two until now.
    """

    thread: Mapping[str, int]
    new: frozenset[str]
    joined: frozenset[int]


def link_threads(connection: Connection, named: Iterable[Sequence[str]]) -> LinkedThreads:
    """Join the ids of each group (a message's own and those that it names) into one thread.

    Threads that are joined take the least number among them, on the messages and series that
    are in them too.
    """
    node_of: dict[str, int] = {}
    groups: list[list[int]] = []
    for ids in named:
        for msgid in ids:
            if msgid not in node_of:
                node_of[msgid] = digest63(msgid)
        groups.append([node_of[msgid] for msgid in ids])
    nodes = set(node_of.values())
    stored: dict[int, int] = {}
    node = schema.thread_node.c
    for some in chunks(sorted(nodes)):
        query = select(node.node, node.thread_id).where(is_any(node.node, some))
        stored.update({row.node: row.thread_id for row in connection.execute(query)})

    sets = DisjointSets()
    for group in groups:
        for one in group:
            # A stored node stands for its whole thread.
            sets.join(stored.get(group[0], group[0]), stored.get(one, one))
    thread_of = {one: sets.root(stored.get(one, one)) for one in nodes}

    moves = [
        {"old": old, "new": new} for old in set(stored.values()) if (new := sets.root(old)) != old
    ]
    if moves:
        for table in (schema.thread_node, schema.message, schema.series):
            moved = table.c.thread_id == bindparam("old")
            connection.execute(update(table).where(moved).values(thread_id=bindparam("new")), moves)
    insert_rows(
        connection,
        schema.thread_node,
        [
            {"node": one, "thread_id": thread}
            for one, thread in thread_of.items()
            if one not in stored
        ],
    )
    return LinkedThreads(
        {msgid: thread_of[one] for msgid, one in node_of.items()},
        frozenset(msgid for msgid, one in node_of.items() if one not in stored),
        frozenset(move["new"] for move in moves),
    )


class DisjointSets:
    """Disjoint sets of threads; the least member names a set."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def root(self, one: int) -> int:
        above = self._above
        top = one
        while (higher := above.get(top, top)) != top:
            top = higher
        while one != top:
            above[one], one = top, above.get(one, one)
        return top

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._above[second] = first
