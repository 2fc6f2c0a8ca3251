"""Write the rows of series and of their members.

Input: the arrangement of whole sets. The stored rows of those sets are compared with it and only
the differences are written, so that what does not change keeps its row and its number. A row that
is deleted leaves a redirect (see `store.write.redirects`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from ingest.frozen import frozen
from ingest.lifecycle.revisions import Revision
from ingest.series.arrange import Series
from ingest.series.crowd import is_in_loose_crowd
from ingest.series.draft import Rule
from ingest.series.facts import Facts
from ingest.series.links.posting import Posting, make_posting, traces
from ingest.store import schema
from ingest.store.keyed import KeyedQuery, delete_by_key
from ingest.store.read.revisions import SERIES_BY_ID, StoredRevision, is_compared_whole
from ingest.store.site.series_metadata import transfer_metadata
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.states.links import SeriesChanges
from ingest.store.write.arrange import ArrangedSets
from ingest.store.write.redirects import (
    NumberedSeries,
    add_redirects,
    find_successors,
    number_series,
)


@frozen
class _StoredSeries:
    """The stored rows that an arrangement may change.

    `members`: rows of `member` by message; `by_key`: rows of `series` by key.
    """

    members: Mapping[int, dict[str, Any]]
    by_key: Mapping[str, Any]

    def series_of_messages(self) -> dict[int, int]:
        """Return the number of the series that each message is stored in."""
        return {message_id: row["series_id"] for message_id, row in self.members.items()}


@frozen
class _WantedSeries:
    """The rows as the arrangement wants them.

    `series`: by key; `ids`: the row number of each stored or wanted series, by key; `members`:
    rows of `member` by message; `new`: the keys of series that need a new row.
    """

    series: Mapping[str, Series]
    ids: Mapping[str, int]
    members: Mapping[int, dict[str, Any]]
    new: Sequence[str]

    def kept_ids(self) -> set[int]:
        """Return the row numbers of the wanted series."""
        return {self.ids[key] for key in self.series}


def write_series(
    connection: Connection, arranged: ArrangedSets, *, orphaned: set[int]
) -> SeriesChanges:
    """Make the series and members of these sets equal to the arrangement.

    `orphaned`: rows of series whose members were deleted; they are deleted too unless the
    arrangement wants them. Returns what was changed.
    """
    series = {
        item.key: item for arrangement in arranged.arrangements for item in arrangement.series
    }
    stored = _read_stored(connection, arranged, series, orphaned)
    wanted = _number_wanted(connection, arranged, series, stored)
    # Members are deleted before others are inserted, and series after all members that name
    # them: every step satisfies the constraints.
    _delete_stale_members(connection, stored, wanted)
    _insert_series(connection, arranged, wanted)
    updated = _update_series(connection, arranged, stored, wanted)
    _insert_members(connection, stored, wanted)
    kept = wanted.kept_ids()
    removed = {row.id: key for key, row in stored.by_key.items() if row.id not in kept}
    postings = {wanted.ids[key]: series_posting(item, arranged) for key, item in series.items()}
    traces_of = {series_id: traces(posting) for series_id, posting in postings.items()}
    added, deleted = _write_traces(connection, traces_of, wanted, removed)
    _delete_series(connection, arranged, stored, wanted, removed)
    return SeriesChanges(
        changed=updated
        | _find_changed(arranged, stored, wanted)
        | {series_id for _, series_id in added}
        | (orphaned & kept),
        removed=set(removed),
        added=added,
        deleted=deleted,
        unplaced=stored.members.keys() - wanted.members.keys(),
        shrunk=_find_shrunk(stored, wanted),
        revisions={
            wanted.ids[key]: _revision(item, postings[wanted.ids[key]], arranged)
            for key, item in series.items()
            if is_compared_whole(item.members)
        },
        traces=traces_of,
    )


def _revision(series: Series, posting: Posting, arranged: ArrangedSets) -> StoredRevision:
    """Return a series as it is compared with its revisions, and as it would be read again."""
    nodes = [arranged.nodes[member.key] for member in series.members if member.number is not None]
    return StoredRevision(
        Revision(
            posting=posting,
            patches=tuple(node.facts for node in nodes),
            total=series.total,
            is_complete=series.received_all,
        ),
        {node.facts.key: node.message_id for node in nodes},
    )


def _find_changed(arranged: ArrangedSets, stored: _StoredSeries, wanted: _WantedSeries) -> set[int]:
    """Return the wanted series that are new, have other members, or members derived again."""
    changed = {wanted.ids[key] for key in wanted.new}
    for message_id, row in wanted.members.items():
        if stored.members.get(message_id) != row:
            changed.add(row["series_id"])
    for message_id, row in stored.members.items():
        if wanted.members.get(message_id) != row:
            changed.add(row["series_id"])
    for node in arranged.nodes.values():
        if node.derived is not None and node.message_id in wanted.members:
            changed.add(wanted.members[node.message_id]["series_id"])
    return changed & wanted.kept_ids()


def _find_shrunk(stored: _StoredSeries, wanted: _WantedSeries) -> set[int]:
    """Return the stored series of several patches that are of one now."""
    total_of = {wanted.ids[key]: series.total for key, series in wanted.series.items()}
    return {
        row.id for row in stored.by_key.values() if total_of.get(row.id, row.total) < 2 <= row.total
    }


def _read_stored(
    connection: Connection, arranged: ArrangedSets, series: Iterable[str], orphaned: set[int]
) -> _StoredSeries:
    """Read the member rows of the arranged messages, and the series that these or `series` name."""
    members: dict[int, dict[str, Any]] = {}
    stored = [node.message_id for node in arranged.nodes.values() if node.is_stored]
    for row in _MEMBERS.rows(connection, stored):
        members[row.message_id] = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    ids = {row["series_id"] for row in members.values()} | orphaned
    by_key: dict[str, Any] = {row.key: row for row in SERIES_BY_ID.rows(connection, ids)}
    # A row that has lost its members still belongs to the series with its key.
    for row in _SERIES_BY_KEY.rows(connection, set(series) - by_key.keys()):
        by_key[row.key] = row
    return _StoredSeries(members, by_key)


_MEMBERS = KeyedQuery(select(schema.member), schema.member.c.message_id)
_SERIES_BY_KEY = KeyedQuery(select(schema.series), schema.series.c.key)


def _number_wanted(
    connection: Connection,
    arranged: ArrangedSets,
    series: Mapping[str, Series],
    stored: _StoredSeries,
) -> _WantedSeries:
    """Give each wanted series its row number, and build the member rows with these."""
    missing = [key for key in series if key not in stored.by_key]
    numbered: NumberedSeries = number_series(
        connection,
        missing,
        {row.id: key for key, row in stored.by_key.items() if key not in series},
        before=stored.series_of_messages(),
        after={
            arranged.nodes[member.key].message_id: item.key
            for item in series.values()
            for member in item.members
        },
    )
    ids = {key: row.id for key, row in stored.by_key.items()} | numbered.ids
    members = {
        arranged.nodes[member.key].message_id: {
            "message_id": arranged.nodes[member.key].message_id,
            "series_id": ids[item.key],
            "number": member.number,
            "minor": member.minor,
            "rule": member.rule,
            "evidence": member.evidence,
        }
        for item in series.values()
        for member in item.members
    }
    new = [key for key in missing if key not in numbered.taken]
    return _WantedSeries(series, ids, members, new)


def _delete_stale_members(
    connection: Connection, stored: _StoredSeries, wanted: _WantedSeries
) -> None:
    """Delete the member rows that are not as wanted."""
    stale = [
        message_id
        for message_id, row in stored.members.items()
        if wanted.members.get(message_id) != row
    ]
    for chunk in chunks(stale):
        connection.execute(delete(schema.member).where(is_any(schema.member.c.message_id, chunk)))


def _insert_series(connection: Connection, arranged: ArrangedSets, wanted: _WantedSeries) -> None:
    """Insert the rows of series that have none."""
    insert_rows(
        connection,
        schema.series,
        [{"id": wanted.ids[key], **series_row(wanted.series[key], arranged)} for key in wanted.new],
    )


def _update_series(
    connection: Connection, arranged: ArrangedSets, stored: _StoredSeries, wanted: _WantedSeries
) -> set[int]:
    """Update the rows of series that differ, including those that get another key.

    Returns their numbers.
    """
    row_by_id = {row.id: row for row in stored.by_key.values()}
    changed = []
    for key, series in wanted.series.items():
        if (row := row_by_id.get(wanted.ids[key])) is not None:
            values = series_row(series, arranged)
            if any(getattr(row, name) != value for name, value in values.items()):
                changed.append({"b_id": row.id, **values})
    if changed:
        connection.execute(
            update(schema.series).where(schema.series.c.id == bindparam("b_id")), changed
        )
    return {values["b_id"] for values in changed}


def _insert_members(connection: Connection, stored: _StoredSeries, wanted: _WantedSeries) -> None:
    """Insert the member rows that are not stored as wanted."""
    insert_rows(
        connection,
        schema.member,
        [
            row
            for message_id, row in wanted.members.items()
            if stored.members.get(message_id) != row
        ],
    )


_TRACES = KeyedQuery(
    select(schema.trace.c.trace, schema.trace.c.series_id), schema.trace.c.series_id
)


def _write_traces(
    connection: Connection,
    traces_of: Mapping[int, Iterable[int]],
    wanted: _WantedSeries,
    removed: Iterable[int],
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Make the traces of these series those of their members, and delete those of `removed`.

    Returns the rows, as trace and series, that are stored now and were not, and those that were
    and are not any more.
    """
    rows = {
        (trace, series_id) for series_id, own_traces in traces_of.items() for trace in own_traces
    }
    table = schema.trace
    stored = {
        (row.trace, row.series_id) for row in _TRACES.rows(connection, [*wanted.ids.values()])
    }
    stale = {series_id for _, series_id in stored - rows} | set(removed)
    delete_by_key(connection, table.c.series_id, stale)
    kept = {row for row in stored if row[1] not in stale}
    insert_rows(
        connection,
        table,
        [{"trace": trace, "series_id": series_id} for trace, series_id in sorted(rows - kept)],
    )
    return rows - stored, stored - rows


def _delete_series(
    connection: Connection,
    arranged: ArrangedSets,
    stored: _StoredSeries,
    wanted: _WantedSeries,
    removed: Mapping[int, str],
) -> None:
    """Delete series (keys by row number), each leaving a redirect to where its members are now.

    A member that is a comment now, since its patch was sent before, is where that patch is.
    """
    for chunk in chunks(removed):
        connection.execute(delete(schema.series).where(is_any(schema.series.c.id, chunk)))
    now_in = {message_id: row["series_id"] for message_id, row in wanted.members.items()}
    before = stored.series_of_messages()
    for key, node in arranged.nodes.items():
        if node.message_id in before and node.message_id not in now_in:
            place = arranged.places.get(key)
            answered = arranged.nodes.get(place.parent or "") if place is not None else None
            if answered is not None and answered.message_id in now_in:
                now_in[node.message_id] = now_in[answered.message_id]
    successors = find_successors(removed, before=before, after=now_in)
    for series_id, successor in successors.items():
        transfer_metadata(connection, series_id, successor)
    add_redirects(
        connection,
        "series",
        {series_id: (key, successors[series_id]) for series_id, key in removed.items()},
    )


def series_posting(series: Series, arranged: ArrangedSets) -> Posting:
    """Return a series as the linking of revisions needs it."""
    return make_posting(
        series.key,
        version=(series.version, series.version_minor),
        date=series.date,
        partial=series.partial,
        parent_series=series.parent_series,
        members=[arranged.nodes[member.key].facts for member in series.members],
    )


def series_row(series: Series, arranged: ArrangedSets) -> dict[str, Any]:
    """Return the row of a series, without its number."""
    first = arranged.nodes[series.members[0].key]
    members = [arranged.nodes[member.key].facts for member in series.members]
    return {
        "key": series.key,
        "name": series.name,
        "version": series.version,
        "version_minor": series.version_minor,
        "total": series.total,
        "received_total": series.received_total,
        "received_all": series.received_all,
        "date": series.date,
        "person_id": first.person_id,
        "cover_id": arranged.nodes[series.cover].message_id if series.cover else None,
        "partial": series.partial,
        "parent_series": series.parent_series,
        "thread_id": first.thread_id,
        "fast_path_ok": _is_regular(series, members),
        "loose_crowd": series.members[0].rule is Rule.CROWDED
        and is_in_loose_crowd(members[0], series.members[0].evidence),
    }


# Rules that add a piece to a series as the sender numbered and threaded it, without a repair.
_REGULAR_RULES = (Rule.FIRST, Rule.BELOW, Rule.SIBLING, Rule.UNTHREADED, Rule.CROWDED)


def _is_regular(series: Series, members: Sequence[Facts]) -> bool:
    """Tell whether a series is a cover and patches that agree in all, grouped without a repair.

    None of them may say "v1": a patch that joins could not know whether the others do. Nothing
    joins a cover that is one of too many in a thread.
    """
    first = members[0]
    is_bystander = series.members[0].rule is Rule.CROWDED and first.parents
    return (
        series.cover is not None
        and not is_bystander
        and first.piece
        and first.version_given == ((series.version, series.version_minor) != (1, 0))
        and not series.partial
        and all(member.rule in _REGULAR_RULES for member in series.members)
        and len(
            {
                (fact.sender, fact.total, fact.version, fact.version_minor, fact.version_given)
                for fact in members
            }
        )
        == 1
        and not any(fact.reply for fact in members)
    )
