"""Keep the read model: the rows of `listing`, from which lists are read.

A transaction that changes what a list shows or is ordered by calls one of these functions:
`sync_listing` at its end, where records, series or their mailing lists have changed;
`update_states` or `update_archived` where only states have. `reparse` writes the rows of all
messages again, and calls `delete_orphans`. `find_differences` compares the whole table with what it
should be, for `check`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Select,
    bindparam,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
    union_all,
    update,
)

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.batches import BATCH, iter_keys, merge_keys
from ingest.store.keyed import KeyedQuery
from ingest.store.schema.listing import (
    ALL_LISTS,
    INCOMPLETE,
    NO_DATE,
    NO_LIST,
    RECEIVED,
    ListingKind,
)
from ingest.store.sql.collation import CodePoints
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.sql.planner_hints import InOrder

_SOURCES = {
    ListingKind.PATCH: schema.patch.c.message_id,
    ListingKind.COVER: schema.cover.c.message_id,
    ListingKind.SERIES: schema.series.c.id,
}
# What messages are, by their kind.
_OUTCOMES = {ListingKind.PATCH: Outcome.PATCH, ListingKind.COVER: Outcome.COVER}


class _Row(NamedTuple):
    """A row of `listing`."""

    kind: int
    id: int
    list_id: int
    date: Any
    person_id: int
    state: str | None
    archived: bool
    delegate_id: int | None
    project_id: int | None


def sync_listing(
    connection: Connection,
    *,
    message_ids: Iterable[int],
    series_ids: Iterable[int],
    joined: Mapping[int, Collection[int]] = MappingProxyType({}),
) -> None:
    """Make the rows of these messages and series, and of the messages' series, what they should be.

    Ids of rows that do not exist any more are allowed: their rows are deleted. `joined`: the new
    messages of series that have changed in nothing else; their other members, of which there may
    be thousands, are not read.
    """
    series = set(series_ids)
    grown = dict(joined)
    known: dict[ListingKind, set[int]] = {kind: set() for kind in ListingKind}
    new: dict[ListingKind, set[int]] = {kind: set() for kind in ListingKind}
    for chunk in chunks(sorted(set(message_ids))):
        rows = list(_MESSAGES.rows(connection, chunk))
        for row in rows:
            for kind, outcome in _OUTCOMES.items():
                if getattr(row, outcome):  # it is listed as one
                    known[kind].add(row.id)
                elif row.outcome == outcome:
                    new[kind].add(row.id)
            if row.series_id is not None:
                series.discard(row.series_id)
                if row.id not in grown.get(row.series_id, ()):
                    grown.pop(row.series_id, None)  # the lists of another member may have changed
                (known if row.series else new)[ListingKind.SERIES].add(row.series_id)
        deleted = sorted(set(chunk) - {row.id for row in rows})
        for kind in _OUTCOMES:
            known[kind] |= _find_listed(connection, kind, deleted)
    listed = _find_listed(connection, ListingKind.SERIES, sorted(series))
    known[ListingKind.SERIES] |= listed
    new[ListingKind.SERIES] |= series - listed
    for kind, ids in known.items():
        for chunk in chunks(sorted(ids)):
            own = grown if kind is ListingKind.SERIES else {}
            _write(connection, _compare(connection, kind, chunk, own))
    _insert_new(connection, {kind: sorted(ids) for kind, ids in new.items() if ids})


def _find_listed(connection: Connection, kind: ListingKind, ids: Sequence[int]) -> set[int]:
    """Return those of these messages or series that have rows."""
    return _LISTED[kind].values(connection, ids)


_LISTING = schema.listing.c
_LISTED = {
    kind: KeyedQuery(
        select(_LISTING.id).where(_LISTING.kind == int(kind), _LISTING.list_id == ALL_LISTS),
        _LISTING.id,
    )
    for kind in ListingKind
}


def _make_message_query() -> Select[Any]:
    """Return a query for what messages are, their series, and whether these have rows."""
    message, member, listing = schema.message.c, schema.member.c, schema.listing.c

    def is_listed(kind: ListingKind, row_id: ColumnElement[int]) -> ColumnElement[bool]:
        of_kind = (listing.kind == int(kind), listing.list_id == ALL_LISTS)
        return select(listing.id).where(*of_kind, listing.id == row_id).exists()

    return select(
        message.id,
        message.outcome,
        member.series_id,
        *(is_listed(kind, message.id).label(name) for kind, name in _OUTCOMES.items()),
        is_listed(ListingKind.SERIES, member.series_id).label("series"),
    ).outerjoin(schema.member, member.message_id == message.id)


_MESSAGES = KeyedQuery(_make_message_query(), schema.message.c.id)


def _insert_new(connection: Connection, new: Mapping[ListingKind, Sequence[int]]) -> None:
    """Insert the rows of messages or series that have none, all in the database: most are new."""
    if any(len(ids) > BATCH for ids in new.values()):
        for kind, ids in new.items():
            for start in range(0, len(ids), BATCH):
                _insert_new(connection, {kind: ids[start : start + BATCH]})
    elif new:
        keys = {kind.name: ids for kind, ids in new.items()}
        connection.execute(_insertion(tuple(new)), keys)


@cache
def _insertion(kinds: Sequence[ListingKind]) -> Insert:
    """Return a statement that inserts the rows of these kinds.

    Its parameters are the ids of each kind, by the kind's name. It is kept, as SQLAlchemy takes
    longer to compile and to identify such a statement than SQLite to execute it.
    """
    parts = [
        _row_query(kind, is_any(_SOURCES[kind], name=kind.name), posted=posted)
        for kind in kinds
        for posted in (False, True)
    ]
    names = _Row._fields
    return (
        insert(schema.listing)
        .inline()
        .from_select(names, union_all(*parts), include_defaults=False)
    )


def update_states(connection: Connection, states: Sequence[dict[str, Any]]) -> None:
    """Update the rows of patches: `b_id`, `state`, `archived`, `delegate_id` of each."""
    if states:
        listing = schema.listing.c
        is_own = (listing.kind == int(ListingKind.PATCH), listing.id == bindparam("b_id"))
        connection.execute(update(schema.listing).where(*is_own), states)


def update_archived(connection: Connection, message_ids: Iterable[int]) -> None:
    """Update the rows of patches that were archived."""
    listing = schema.listing.c
    for chunk in chunks(message_ids):
        is_one = (listing.kind == int(ListingKind.PATCH), is_any(listing.id, chunk))
        connection.execute(update(schema.listing).where(*is_one).values(archived=True))


def delete_orphans(connection: Connection) -> None:
    """Delete the rows of patches, covers and series that do not exist."""
    listing = schema.listing.c
    for kind, column in _SOURCES.items():
        exists = select(column).where(column == listing.id).exists()
        connection.execute(delete(schema.listing).where(listing.kind == int(kind), ~exists))


def find_differences(connection: Connection) -> Iterator[tuple[ListingKind, int]]:
    """Yield the kind and id of what has other rows than it should have."""
    listing = schema.listing.c
    for kind in ListingKind:
        is_whole = (listing.kind == int(kind), listing.list_id == ALL_LISTS)
        stored = iter_keys(connection, _SOURCES[kind])
        for ids in merge_keys(stored, iter_keys(connection, listing.id, *is_whole)):
            difference = _compare(connection, kind, ids)
            for row_id in sorted({row.id for row in (*difference.stale, *difference.missing)}):
                yield kind, row_id


@frozen
class _Difference:
    """The rows that should not be there, and those that should and are not."""

    stale: Sequence[_Row]
    missing: Sequence[_Row]


def _compare(
    connection: Connection,
    kind: ListingKind,
    ids: Sequence[int],
    grown: Mapping[int, Collection[int]] = MappingProxyType({}),
) -> _Difference:
    """Compare the rows. `grown`: series to whose lists only those of these messages are added."""
    rows = _STORED.rows(connection, ids, kind=int(kind))
    stored = {_Row(*row) for row in rows}
    lists = _read_lists(connection, kind, [row_id for row_id in ids if row_id not in grown])
    if own := {row_id: grown[row_id] for row_id in ids if row_id in grown}:
        lists |= _read_grown_lists(connection, own, stored)
    wanted = set(_wanted_rows(connection, kind, ids, lists))
    return _Difference(list(stored - wanted), sorted(wanted - stored, key=lambda row: row[:3]))


def _write(connection: Connection, difference: _Difference) -> None:
    listing = schema.listing.c
    for chunk in chunks(row[:3] for row in difference.stale):
        for start in range(0, len(chunk), 500):
            keys = tuple_(listing.kind, listing.id, listing.list_id)
            some = chunk[start : start + 500]
            connection.execute(delete(schema.listing).where(keys.in_(some)))
    insert_rows(connection, schema.listing, [row._asdict() for row in difference.missing])


_STORED = KeyedQuery(
    select(*(schema.listing.c[name] for name in _Row._fields)).where(
        _LISTING.kind == bindparam("kind")
    ),
    _LISTING.id,
)


def _read_grown_lists(
    connection: Connection, grown: Mapping[int, Collection[int]], stored: Iterable[_Row]
) -> dict[int, set[int]]:
    """Return the mailing lists of series as they are stored, with those of their new messages."""
    message_ids = [message_id for own in grown.values() for message_id in own]
    lists_of = _read_lists(connection, ListingKind.PATCH, message_ids)
    lists = {
        series_id: {list_id for message_id in own for list_id in lists_of.get(message_id, ())}
        for series_id, own in grown.items()
    }
    for row in stored:
        if row.id in lists and row.list_id != ALL_LISTS:
            lists[row.id].add(row.list_id)
    return lists


def _wanted_rows(
    connection: Connection,
    kind: ListingKind,
    ids: Sequence[int],
    lists: Mapping[int, Iterable[int]],
) -> Iterator[_Row]:
    """Yield the rows that these messages or series should have. `lists`: their mailing lists."""
    condition = is_any(_SOURCES[kind], ids)
    for whole in connection.execute(_row_query(kind, condition, posted=False)):
        row = _Row(*whole)
        yield row
        for list_id in lists.get(row.id, ()):
            yield row._replace(list_id=list_id, project_id=None)


def _row_query(kind: ListingKind, condition: ColumnElement[bool], *, posted: bool) -> Select[Any]:
    """Return a query for the rows that are not limited to a mailing list, or for the others.

    `condition`: which messages or series. `posted`: the rows of mailing lists.
    """
    message, patch, series = schema.message.c, schema.patch.c, schema.series.c
    listing, posting, member = schema.listing.c, schema.posting.c, schema.member.c
    source: FromClause = schema.series
    own_id, date, person_id = message.id, message.date, message.person_id
    posted_id = message.id
    state: ColumnElement[Any] = cast(null(), listing.state.type)
    archived: ColumnElement[Any] = false()
    delegate_id: ColumnElement[Any] = cast(null(), listing.delegate_id.type)
    project_id: ColumnElement[Any] = cast(null(), listing.project_id.type)
    list_id: ColumnElement[Any] = literal(ALL_LISTS, listing.list_id.type)
    if kind is ListingKind.SERIES:
        own_id, date, person_id = series.id, series.date, series.person_id
        state = case((series.received_all, RECEIVED), else_=INCOMPLETE)
        posted_id = member.message_id
        if posted:
            source = InOrder(schema.series, schema.member, member.series_id == series.id)
    elif kind is ListingKind.COVER:
        source = schema.cover.join(schema.message, message.id == schema.cover.c.message_id)
    else:
        source = schema.patch.join(schema.message, message.id == patch.message_id)
        state, archived = schema.current_state, patch.archived
        delegate_id = patch.delegate_id
        if not posted:
            project_id = func.coalesce(_project_of(message.id), NO_LIST)
    if posted:
        list_id = posting.list_id
        source = InOrder(source, schema.posting, posting.message_id == posted_id)
    no_date = literal(NO_DATE, listing.date.type)
    query = select(
        literal(int(kind), listing.kind.type).label("kind"),
        own_id,
        list_id.label("list_id"),
        func.coalesce(date, no_date).label("date"),
        person_id,
        state,
        archived,
        delegate_id,
        project_id,
    )
    query = query.select_from(source).where(condition)
    # A message may have been received more than once through a list.
    return query.distinct() if posted else query


def _project_of(message_id: ColumnElement[int]) -> ColumnElement[Any]:
    """Return the list that is the project of a message: the first one, as records show them."""
    posting, list_ = schema.posting.c, schema.list_.c
    query = (
        select(posting.list_id)
        .join(schema.list_, list_.id == posting.list_id)
        .where(posting.message_id == message_id)
        .order_by(CodePoints(list_.list_id))
        .limit(1)
    )
    return query.correlate(schema.message).scalar_subquery()


def _read_lists(
    connection: Connection, kind: ListingKind, ids: Sequence[int]
) -> dict[int, set[int]]:
    """Return the mailing lists of these messages or series."""
    posting, member = schema.posting.c, schema.member.c
    if kind is ListingKind.SERIES:
        postings = InOrder(schema.member, schema.posting, posting.message_id == member.message_id)
        query = select(member.series_id, posting.list_id).select_from(postings)
        query = query.where(is_any(member.series_id, ids))
    else:
        query = select(posting.message_id, posting.list_id).where(is_any(posting.message_id, ids))
    lists: dict[int, set[int]] = defaultdict(set)
    for row_id, list_id in connection.execute(query):
        lists[row_id].add(list_id)
    return lists
