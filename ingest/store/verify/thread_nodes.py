"""Compare the nodes of threads with the links of mail.

Links connect ids into threads, so all ids that a message names are nodes of its own thread. If they
are not, the node that differs from the others is reported: no second record shows which thread is
right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from ingest.frozen import frozen
from ingest.series.facts import digest63
from ingest.store import schema
from ingest.store.verify.snapshot import read_rows


@frozen
class ThreadCheck:
    """The thread of a message, and the ids whose nodes are missing or in another thread."""

    thread_id: int
    missing: tuple[str, ...]
    misplaced: tuple[str, ...]


class ThreadNodes:
    """The stored threads of ids."""

    def __init__(self, connection: Connection, id_groups: Iterable[Sequence[str]]) -> None:
        """Read the nodes of `id_groups`: for each message, the ids to be checked."""
        self._connection = connection
        self._node_of = {msgid: digest63(msgid) for ids in id_groups for msgid in ids}
        self._thread_of = self._read(self._node_of.values())

    def check(self, ids: Sequence[str], row_thread: int | None) -> ThreadCheck:
        """Return the thread of a message, and the nodes that disagree with it.

        `ids` are the ids that the message names, its own first. `row_thread` is the thread in the
        row of the message.
        """
        thread_by_id = {msgid: self._thread_of.get(self._node_of[msgid]) for msgid in ids}
        votes = Counter(
            thread for thread in (*thread_by_id.values(), row_thread) if thread is not None
        )
        if not votes:
            return ThreadCheck(self._node_of[ids[0]], tuple(thread_by_id), ())
        thread_id = next(iter(votes)) if len(votes) == 1 else self._choose_thread(votes, ids)
        return ThreadCheck(
            thread_id,
            tuple(msgid for msgid, thread in thread_by_id.items() if thread is None),
            tuple(
                msgid for msgid, thread in thread_by_id.items() if thread not in (None, thread_id)
            ),
        )

    def _choose_thread(self, votes: Counter[int], ids: Sequence[str]) -> int:
        """Return the thread with the most votes; of equals, one that is the number of a thread.

        The number of a thread is one of its nodes.
        """
        own_nodes = {self._node_of[msgid] for msgid in ids}
        threads = self._read(votes)
        return max(
            votes,
            key=lambda thread: (
                votes[thread],
                thread in own_nodes or threads.get(thread) == thread,
            ),
        )

    def _read(self, nodes: Iterable[int]) -> dict[int, int]:
        rows = read_rows(self._connection, schema.thread_node, "node", set(nodes))
        return {row.node: row.thread_id for row in rows}
