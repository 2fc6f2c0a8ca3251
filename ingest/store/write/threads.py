"""Find the thread of each Message-ID, and join the threads that a message connects.

A thread is a connected set of ids under In-Reply-To and References, including ids of mail that
has not been seen. Links are only ever added: whatever order they arrive in, the sets are the
same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, func, select, update

from ingest.frozen import frozen
from ingest.series.comments import MAX_COMMENTS
from ingest.series.facts import MessageKind, digest63
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.read.revisions import MAX_SHARED, count_rows_of
from ingest.store.sql.insertion import insert_rows


@frozen
class LinkedThreads:
    """The threads of some ids, after they have been linked.

    `thread_of`: the thread of each id; `new_ids`: the ids that nothing had named before;
    `joined`: the threads that were two or more until now, of which two had a patch or a cover;
    `grown`: those of which none had too many comments.
    """

    thread_of: Mapping[str, int]
    new_ids: frozenset[str]
    joined: frozenset[int]
    grown: frozenset[int]


def link_threads(connection: Connection, id_groups: Iterable[Sequence[str]]) -> LinkedThreads:
    """Join the ids of each group into one thread: a message's own id and those that it names.

    Threads that are joined take the number of the largest; the messages and series of the others
    are given that number too. So a message changes its number a few times at most, whatever ids a
    sender invents. The number of a thread is one of its nodes.
    """
    node_of: dict[str, int] = {}
    node_groups: list[list[int]] = []
    for ids in id_groups:
        for msgid in ids:
            if msgid not in node_of:
                node_of[msgid] = digest63(msgid)
        node_groups.append([node_of[msgid] for msgid in ids])
    nodes = set(node_of.values())
    stored = _read_threads(connection, nodes)

    sets = DisjointSets()
    for group in node_groups:
        for node in group:
            # A stored node represents its whole thread.
            sets.join(stored.get(group[0], group[0]), stored.get(node, node))
    numbers = _choose_numbers(connection, sets, set(stored.values()))
    roots = {node: sets.root(stored.get(node, node)) for node in nodes}
    thread_of = {node: numbers.get(root, root) for node, root in roots.items()}

    moves = [
        {"old": old, "new": new}
        for old in sorted(set(stored.values()))
        if (new := numbers[sets.root(old)]) != old
    ]
    joined = _find_with_patches(connection, moves)
    grown = _find_grown(connection, moves)
    _renumber_threads(connection, moves)
    insert_rows(
        connection,
        schema.thread_node,
        [
            {"node": node, "thread_id": thread}
            for node, thread in thread_of.items()
            if node not in stored
        ],
    )
    return LinkedThreads(
        {msgid: thread_of[node] for msgid, node in node_of.items()},
        frozenset(msgid for msgid, node in node_of.items() if node not in stored),
        frozenset(joined),
        frozenset(grown),
    )


def _find_grown(connection: Connection, moves: Sequence[dict[str, int]]) -> set[int]:
    """Return the new numbers of threads of which none has too many comments."""
    new_of = _new_numbers(moves)
    crowded = find_crowded_threads(connection, new_of)
    return {*new_of.values()} - {new_of[old] for old in crowded}


def find_crowded_threads(connection: Connection, threads: Iterable[int]) -> set[int]:
    """Return those of these threads that certainly have too many comments (`series.comments`)."""
    large = find_large_threads(connection, threads, MAX_COMMENTS)
    counts = count_comments(connection, large)
    return {thread for thread in large if counts[thread] > MAX_COMMENTS}


def find_large_threads(connection: Connection, threads: Iterable[int], number: int) -> set[int]:
    """Return those of these threads that have more messages than that."""
    counts = _count(connection, threads, f"outcome <> '{Outcome.IGNORED}'")
    return {thread for thread, count in counts.items() if count > number}


def count_comments(connection: Connection, threads: Iterable[int]) -> dict[int, int]:
    """Count the messages of each thread that are comments, or else no patches and no covers.

    Counts no more than it takes to tell whether there are too many. Does not count what is a cover
    or a patch though it is neither by its own mail: see `count_pieces_by_place`.
    """
    return _count(
        connection,
        threads,
        f"outcome IN ('{Outcome.COMMENT}', '{Outcome.OTHER}') AND {_IS_NO_PIECE}",
    )


def count_pieces_by_place(connection: Connection, threads: Iterable[int]) -> dict[int, int]:
    """Count the covers and patches of each thread that are neither by their own mail."""
    return _count(connection, threads, f"{_IS_IN_SERIES} AND {_IS_NO_PIECE}")


_IS_IN_SERIES = f"outcome IN ('{Outcome.PATCH}', '{Outcome.COVER}')"
_IS_NO_PIECE = f"kind IN ('{MessageKind.REPLY}', '{MessageKind.OTHER}')"


def _count(connection: Connection, threads: Iterable[int], condition: str) -> dict[int, int]:
    more = MAX_COMMENTS - MAX_SHARED
    return count_rows_of(connection, "message", "thread_id", threads, condition, more=more)


def _new_numbers(moves: Sequence[dict[str, int]]) -> dict[int, int]:
    """Return the number that each thread of these has from now on."""
    new_of = {move["old"]: move["new"] for move in moves}
    return new_of | {new: new for new in new_of.values()}


def _find_with_patches(connection: Connection, moves: Sequence[dict[str, int]]) -> set[int]:
    """Return the new numbers of threads of which two or more have a patch or a cover."""
    new_of = _new_numbers(moves)
    with_patches = Counter(new_of[old] for old in read_threads_with_patches(connection, new_of))
    return {new for new, count in with_patches.items() if count > 1}


def read_threads_with_patches(connection: Connection, threads: Iterable[int]) -> set[int]:
    """Read which of these threads have a patch or a cover."""
    counts = count_rows_of(connection, "message", "thread_id", threads, _IS_IN_SERIES)
    return {thread for thread, count in counts.items() if count}


def _choose_numbers(
    connection: Connection, sets: DisjointSets, threads: set[int]
) -> dict[int, int]:
    """Return the number of each set that has stored threads, by its root: that of the largest."""
    members: dict[int, list[int]] = defaultdict(list)
    for thread in sorted(threads):
        members[sets.root(thread)].append(thread)
    return {
        root: own[0] if len(own) == 1 else _find_largest(connection, own)
        for root, own in members.items()
    }


def _find_largest(connection: Connection, threads: Sequence[int]) -> int:
    """Return the thread with most nodes, the first of equals.

    Counts a few nodes of each, and more only of those that have more: as many as are renumbered.
    """
    columns = schema.thread_node.c
    limit = _FEW_NODES
    while True:
        counts = {}
        for thread in threads:
            nodes = select(columns.node).where(columns.thread_id == thread).limit(limit)
            query = select(func.count()).select_from(nodes.subquery())
            counts[thread] = connection.execute(query).scalar_one()
        largest = [thread for thread in threads if counts[thread] == limit]
        if len(largest) < 2:
            return largest[0] if largest else max(threads, key=lambda thread: counts[thread])
        threads, limit = largest, limit * _FEW_NODES


_FEW_NODES = 16


def _read_threads(connection: Connection, nodes: set[int]) -> dict[int, int]:
    """Read the threads of those nodes that are stored."""
    return {row.node: row.thread_id for row in _THREADS.rows(connection, sorted(nodes))}


_NODE = schema.thread_node.c
_THREADS = KeyedQuery(select(_NODE.node, _NODE.thread_id), _NODE.node)


def _renumber_threads(connection: Connection, moves: Sequence[dict[str, int]]) -> None:
    """Change the thread number `old` into `new` for each move, in every table that has it."""
    if moves:
        for table in (schema.thread_node, schema.message, schema.series):
            in_old_thread = table.c.thread_id == bindparam("old")
            statement = update(table).where(in_old_thread).values(thread_id=bindparam("new"))
            connection.execute(statement, moves)


class DisjointSets:
    """Disjoint sets of thread numbers (union-find), each named by its least member."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, thread: int) -> int:
        """Return the least member of the set of `thread`, shortening the path to it."""
        parents = self._parents
        top = thread
        while (higher := parents.get(top, top)) != top:
            top = higher
        while thread != top:
            parents[thread], thread = top, parents.get(thread, thread)
        return top

    def join(self, thread: int, other: int) -> None:
        """Unite the sets of two threads."""
        first, second = sorted((self.root(thread), self.root(other)))
        self._parents[second] = first

    def join_all(self, threads: Iterable[int]) -> None:
        """Unite the sets of all these threads."""
        members = iter(threads)
        first = next(members, None)
        for thread in members:
            assert first is not None
            self.join(first, thread)

    def groups(self) -> list[list[int]]:
        """Return the sets that were joined of more than one thread."""
        members: dict[int, list[int]] = defaultdict(list)
        for thread in {*self._parents, *self._parents.values()}:
            members[self.root(thread)].append(thread)
        return [threads for threads in members.values() if len(threads) > 1]
