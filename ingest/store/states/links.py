"""Keep the links between revisions.

Input: the series that a transaction has changed. Only what these can change is determined again:
their links, and the links of the series that they may be earlier revisions of. All of it depends on
the content of the store alone, not on its history.

Series of different threads are linked. So what is read here is locked by trace and by series,
after the threads: of two writers that can change one link or one piece of evidence, the second one
reads what the first one has written. See docs/decisions/0011.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy import Connection, bindparam, delete, select

from ingest.series.facts import Facts
from ingest.series.links.posting import Posting, patch_traces, traces
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.locks import MAX_LINK_KEYS, StateLock, lock_state_keys
from ingest.store.read.revisions import (
    MAX_SHARED,
    StoredRevision,
    choose,
    count_series,
    find_linked,
    find_neighbours,
    find_sharing,
    is_compared_number,
    read_revisions,
    read_series_of_traces,
    read_trace_rows,
    read_traces,
)
from ingest.store.sql.insertion import insert_rows

_TraceRow = tuple[int, int]  # trace and series


@dataclass(slots=True)
class SeriesChanges:
    """What a transaction has changed.

    `changed`: series whose row, members or facts are new; `removed`: series that are deleted;
    `added` and `deleted`: rows of `trace`; `unplaced`: messages that were patches and may be none.
    `joined`: series that have changed in nothing but that patches have joined them, and whether
    they are compared with their revisions by any of these patches.
    `shrunk`: series of several patches until now that are of one.
    """

    changed: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    added: set[_TraceRow] = field(default_factory=set)
    deleted: set[_TraceRow] = field(default_factory=set)
    unplaced: set[int] = field(default_factory=set)
    shrunk: set[int] = field(default_factory=set)
    revisions: Mapping[int, StoredRevision] = field(default_factory=dict)
    traces: Mapping[int, Collection[int]] = field(default_factory=dict)
    joined: dict[int, bool] = field(default_factory=dict)

    def add(self, other: SeriesChanges) -> None:
        """Add the changes of other series in the same transaction."""
        self.changed |= other.changed
        self.removed |= other.removed
        self.added |= other.added
        self.deleted |= other.deleted
        self.unplaced |= other.unplaced
        self.shrunk |= other.shrunk
        self.revisions = {**self.revisions, **other.revisions}
        self.traces = {**self.traces, **other.traces}

    def add_joins(self, connection: Connection, joins: Iterable[tuple[int, Facts]]) -> None:
        """Add the series that patches join. Call it before these are written.

        `joins`: the id of the series and the facts of the patch, of each.
        """
        joins = list(joins)
        for series_id, facts in joins:
            is_compared = is_compared_number(facts.number, facts.minor)
            self.joined[series_id] = is_compared or self.joined.get(series_id, False)
        rows = {(trace, series_id) for series_id, facts in joins for trace in patch_traces(facts)}
        self.changed.update(series_id for series_id, _ in joins)
        self.added |= rows - read_trace_rows(connection, rows)


class RevisionCache:
    """The series that are needed, each read once.

    `own`: those that no other writer can change, because their threads are locked. `known`: those
    of them that need not be read.
    """

    def __init__(
        self,
        connection: Connection,
        own: Collection[int] = (),
        *,
        known: Mapping[int, StoredRevision] = MappingProxyType({}),
    ) -> None:
        self.connection = connection
        self._own = own
        self._read: dict[int, StoredRevision | None] = dict(known)

    def refresh(self) -> None:
        """Forget what another writer may have changed before the last lock was taken."""
        if self.connection.dialect.name == "postgresql":
            self._read = {key: self._read[key] for key in self._own if key in self._read}

    def load(self, series_ids: Iterable[int]) -> None:
        """Read those of these series that are not read yet."""
        missing = set(series_ids) - self._read.keys()
        self._read |= dict.fromkeys(missing) | read_revisions(self.connection, missing)

    def get(self, series_id: int) -> StoredRevision | None:
        """Return a series, None where there is none with that id."""
        if series_id not in self._read:
            self.load([series_id])
        return self._read[series_id]

    def postings(self) -> dict[int, Posting]:
        """Return the postings of all series that have been read."""
        return {
            series_id: item.posting for series_id, item in self._read.items() if item is not None
        }


# --- links ----------------------------------------------------------------------------------


def write_links(store: RevisionCache, changes: SeriesChanges) -> set[int] | None:
    """Make the links from and to changed series what they should be.

    Returns the series whose chosen link is another one, and the series that it leads to or led to.
    None if there are no links and were none.
    """
    connection = store.connection
    plan = _LinkPlan(store, changes)
    lock_state_keys(connection, StateLock.LINK, (), plan.make)
    if not plan.before and not plan.after:
        return None
    _replace_links(connection, plan.before, plan.after)
    changed = {
        pair
        for pair in plan.before.keys() | plan.after.keys()
        if plan.before.get(pair, False) != plan.after.get(pair, False)
    }
    return {series_id for pair in changed for series_id in pair}


_Links = dict[tuple[int, int], bool]  # series and earlier series: whether it is chosen


class _LinkPlan:
    """The links of changed series, and those that depend on these, as they are and should be."""

    def __init__(self, store: RevisionCache, changes: SeriesChanges) -> None:
        self._store = store
        self._changes = changes
        self.before: _Links = {}
        self.after: _Links = {}

    def make(self) -> set[int]:
        """Read what is needed, and return what must be locked for it: series and traces."""
        store, removed = self._store, self._changes.removed
        connection = store.connection
        store.refresh()
        unlinked = self._find_unlinked()
        changed = self._changes.changed - unlinked
        store.load(changed)
        traces_of = self._traces_of(changed)
        counts = self._count_series(traces_of)
        recounted = self._find_recounted(counts)
        if recounted:
            store.load(recounted)
            traces_of |= self._traces_of(recounted - traces_of.keys())
            counts = self._count_series(traces_of)
        touched = changed | recounted
        present = traces_of.keys()
        neighbours = find_neighbours(connection, traces_of, counts)
        store.load({one for found in neighbours.values() for one in found})
        postings = store.postings()
        stored = _read_links(connection, touched | removed)

        linked: dict[int, set[int]] = {series_id: set() for series_id in touched | removed}
        others = {series_id for series_id, _ in stored} - linked.keys()
        for series_id in present:
            linked[series_id] = find_linked(series_id, neighbours[series_id], postings)
            for other in neighbours[series_id] - present:
                if other in postings and find_linked(other, [series_id], postings):
                    others.add(other)
                    linked.setdefault(other, set()).add(series_id)
        self.before = stored | _read_links(connection, others, to=False)
        for series_id, earlier_id in self.before:
            if series_id in others and earlier_id not in touched and earlier_id not in removed:
                linked.setdefault(series_id, set()).add(earlier_id)
        store.load(others.union(*linked.values()))
        postings = store.postings()
        self.after = {
            (series_id, earlier_id): chosen
            for series_id, earlier in linked.items()
            if series_id in postings
            for earlier_id, chosen in choose(series_id, earlier & postings.keys(), postings).items()
        }
        return {*touched, *removed, *others, *counts, *self._locks_of(unlinked)}

    def _find_unlinked(self) -> set[int]:
        """Return the series that patches have joined and that still have no links.

        A series that shares no trace with another has none. Neither has one that had none, and of
        which nothing is compared with others that was not before. To see that, its patches need
        not be read: it may have hundreds.
        """
        joined = self._changes.joined
        if not joined:
            return set()
        connection = self._store.connection
        linked = {series_id for pair in _read_links(connection, joined) for series_id in pair}
        compared = {series_id for series_id, is_compared in joined.items() if is_compared}
        added = [row for row in self._changes.added if row[1] in joined]
        counts = count_series(connection, {trace for trace, _ in added})
        sharing = {series_id for trace, series_id in added if counts[trace] > 1}
        sharing |= find_sharing(connection, compared - linked - sharing)
        return joined.keys() - linked - sharing

    def _locks_of(self, series_ids: Collection[int]) -> set[int]:
        """Return what must be locked so that nobody links these series meanwhile.

        Any traces will do of a series that has more than are locked one by one.
        """
        if not series_ids or self._store.connection.dialect.name != "postgresql":
            return set()
        traces_of = read_traces(self._store.connection, series_ids, most=MAX_LINK_KEYS + 1)
        return {*series_ids, *traces_of}

    def _traces_of(self, series_ids: Iterable[int]) -> dict[int, Collection[int]]:
        """Return the traces of those of these series that exist."""
        known = self._changes.traces
        traces_of: dict[int, Collection[int]] = {}
        for series_id in series_ids:
            if (item := self._store.get(series_id)) is not None:
                traces_of[series_id] = (
                    known[series_id] if series_id in known else traces(item.posting)
                )
        return traces_of

    def _count_series(self, traces_of: Mapping[int, Iterable[int]]) -> dict[int, int]:
        """Count the series that share each trace of these series, and each that was changed."""
        keys = {trace for own in traces_of.values() for trace in own}
        keys.update(trace for trace, _ in self._changes.added | self._changes.deleted)
        more = len(self._changes.changed) + len(self._changes.removed)
        return count_series(self._store.connection, keys, more=more)

    def _find_recounted(self, counts: Mapping[int, int]) -> set[int]:
        """Return the series with a trace that now, or no longer, too many series share."""
        more: Counter[int] = Counter(trace for trace, _ in self._changes.added)
        more.subtract(trace for trace, _ in self._changes.deleted)
        crossing = [
            trace
            for trace, change in more.items()
            if change and (counts[trace] > MAX_SHARED) != (counts[trace] - change > MAX_SHARED)
        ]
        series = read_series_of_traces(self._store.connection, crossing)
        return {series_id for series_ids in series.values() for series_id in series_ids}


def _read_links(connection: Connection, series_ids: Iterable[int], *, to: bool = True) -> _Links:
    """Read the links of these series and, with `to`, those to them."""
    query = _LINKS if to else _LINKS_OF
    return {
        (row.series_id, row.earlier_id): row.chosen for row in query.rows(connection, series_ids)
    }


_LINK_ROWS = select(schema.revision_link)
_LINKS_OF = KeyedQuery(_LINK_ROWS, schema.revision_link.c.series_id)
_LINKS = KeyedQuery(
    _LINK_ROWS, schema.revision_link.c.series_id, (_LINK_ROWS, schema.revision_link.c.earlier_id)
)


def _replace_links(connection: Connection, before: _Links, after: _Links) -> None:
    table = schema.revision_link
    stale = sorted(pair for pair, chosen in before.items() if after.get(pair) != chosen)
    # There are thousands where a trace tells nothing any more, as too many series share it.
    if stale:
        is_pair = (
            table.c.series_id == bindparam("b_series"),
            table.c.earlier_id == bindparam("b_earlier"),
        )
        connection.execute(
            delete(table).where(*is_pair),
            [{"b_series": series_id, "b_earlier": earlier_id} for series_id, earlier_id in stale],
        )
    insert_rows(
        connection,
        table,
        [
            {"series_id": pair[0], "earlier_id": pair[1], "chosen": chosen}
            for pair, chosen in sorted(after.items())
            if before.get(pair) != chosen
        ],
    )
