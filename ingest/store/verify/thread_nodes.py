"""Whether the nodes of threads are as the links of mail make them.

Links tie ids into threads, so all ids that a message names are nodes of its own thread. Where
they are not, the odd one out is blamed: no second record says which thread is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from ingest.series.facts import digest63
from ingest.store import schema
from ingest.store.verify.snapshot import rows_where


class ThreadNodes:
    """The stored threads of some ids."""

    def __init__(self, connection: Connection, named: Iterable[Sequence[str]]) -> None:
        """`named`: for each message the ids that `of` will be asked for."""
        self._connection = connection
        self._node_of = {msgid: digest63(msgid) for ids in named for msgid in ids}
        self._thread_of = self._read(self._node_of.values())

    def of(
        self, ids: Sequence[str], of_message: int | None
    ) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """The thread that a message is in by its ids (its own first) and by its row; the ids
        whose nodes are missing, and those whose nodes are in another thread.
        """
        found = {msgid: self._thread_of.get(self._node_of[msgid]) for msgid in ids}
        votes = Counter(one for one in (*found.values(), of_message) if one is not None)
        if not votes:
            return self._node_of[ids[0]], tuple(found), ()
        thread_id = next(iter(votes)) if len(votes) == 1 else self._likeliest(votes, ids)
        missing = tuple(msgid for msgid, one in found.items() if one is None)
        altered = tuple(msgid for msgid, one in found.items() if one not in (None, thread_id))
        return thread_id, missing, altered

    def _likeliest(self, votes: Counter[int], ids: Sequence[str]) -> int:
        """As most say; of equals, one that is a thread's name: the least of its nodes."""
        own = {self._node_of[msgid] for msgid in ids}
        named = self._read(votes)
        return max(votes, key=lambda one: (votes[one], one in own or named.get(one) == one))

    def _read(self, nodes: Iterable[int]) -> dict[int, int]:
        rows = rows_where(self._connection, schema.thread_node, "node", set(nodes))
        return {row.node: row.thread_id for row in rows}
