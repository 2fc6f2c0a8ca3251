"""Keep the read model: the rows of `listing`, from which lists are read.

A transaction that changes what a list shows or is ordered by calls one of these functions:
`sync_listing` at its end, where records, series or their mailing lists have changed;
`update_states` or `update_archived` where only states have. `reparse` writes the rows of all
messages again, and calls `delete_orphans`. `find_differences` compares the whole table with what it
should be, for `check`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
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
    update,
)

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.schema.listing import ALL_LISTS, NO_DATE, ListingKind
from ingest.store.sql import InOrder, any_key, chunks, insert_rows, is_any

# The states of series.
RECEIVED = "received"
INCOMPLETE = "incomplete"

_SOURCES = {
    ListingKind.PATCH: schema.patch.c.message_id,
    ListingKind.COVER: schema.cover.c.message_id,
    ListingKind.SERIES: schema.series.c.id,
}
# What messages are, by their kind.
_OUTCOMES = {ListingKind.PATCH: Outcome.PATCH, ListingKind.COVER: Outcome.COVER}

# How many rows of a kind are compared at once, when all are.
_BATCH = 2_000


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


def sync_listing(
    connection: Connection, *, message_ids: Iterable[int], series_ids: Iterable[int]
) -> None:
    """Make the rows of these messages and series, and of the messages' series, what they should be.

    Ids of rows that do not exist any more are allowed: their rows are deleted.
    """
    series = set(series_ids)
    for chunk in chunks(sorted(set(message_ids))):
        rows = list(_PLACES.rows(connection, chunk))
        series.update(row.series_id for row in rows if row.series_id is not None)
        known: dict[int, set[int]] = defaultdict(set)
        for kind, row_id in _LISTED_MESSAGES.rows(connection, chunk):
            known[kind].add(row_id)
        for kind, outcome in _OUTCOMES.items():
            ids = {row.id for row in rows if row.outcome == outcome}
            _sync(connection, kind, known=known[kind], new=ids - known[kind])
    for chunk in chunks(sorted(series)):
        stored = _LISTED_SERIES.values(connection, chunk)
        _sync(connection, ListingKind.SERIES, known=stored, new=set(chunk) - stored)


_LISTING = schema.listing.c
_PLACES = KeyedQuery(
    select(schema.message.c.id, schema.message.c.outcome, schema.member.c.series_id).outerjoin(
        schema.member, schema.member.c.message_id == schema.message.c.id
    ),
    schema.message.c.id,
)
_LISTED_MESSAGES = KeyedQuery(
    select(_LISTING.kind, _LISTING.id).where(
        _LISTING.kind.in_([int(kind) for kind in _OUTCOMES]), _LISTING.list_id == ALL_LISTS
    ),
    _LISTING.id,
)
_LISTED_SERIES = KeyedQuery(
    select(_LISTING.id).where(
        _LISTING.kind == int(ListingKind.SERIES), _LISTING.list_id == ALL_LISTS
    ),
    _LISTING.id,
)


def _sync(connection: Connection, kind: ListingKind, *, known: set[int], new: set[int]) -> None:
    """Compare what has rows, and insert the rows of what has none."""
    if known:
        _write(connection, _compare(connection, kind, sorted(known)))
    if new:
        _insert_new(connection, kind, sorted(new))


def _insert_new(connection: Connection, kind: ListingKind, ids: Sequence[int]) -> None:
    """Insert the rows of messages or series that have none, all in the database: most are new."""
    parameters = {"keys": list(ids)}
    for statement in _insertions(kind):
        connection.execute(statement, parameters)


@cache
def _insertions(kind: ListingKind) -> tuple[Insert, Insert]:
    """Return the statements that insert the rows of `keys`: of all lists, and of each list."""
    listing, posting, member = schema.listing, schema.posting.c, schema.member.c
    names = _Row._fields
    statement = insert(listing).inline()
    own = listing.c
    source: Any = listing
    if kind is ListingKind.SERIES:
        source = InOrder(listing, schema.member, member.series_id == own.id)
    is_own = posting.message_id == (member.message_id if kind is ListingKind.SERIES else own.id)
    posted = (
        select(*(posting.list_id if name == "list_id" else own[name] for name in names))
        .select_from(InOrder(source, schema.posting, is_own))
        .where(own.kind == int(kind), own.list_id == ALL_LISTS, any_key(own.id))
    )
    # A message may have been received more than once through a list. (SQLAlchemy would compile a
    # statement with ON CONFLICT each time.)
    return (
        statement.from_select(names, _base_query(kind), include_defaults=False),
        statement.from_select(names, posted.distinct(), include_defaults=False),
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
    for kind in ListingKind:
        for ids in _all_ids(connection, kind):
            difference = _compare(connection, kind, ids)
            for row_id in sorted({row.id for row in (*difference.stale, *difference.missing)}):
                yield kind, row_id


@frozen
class _Difference:
    """The rows that should not be there, and those that should and are not."""

    stale: Sequence[_Row]
    missing: Sequence[_Row]


def _compare(connection: Connection, kind: ListingKind, ids: Sequence[int]) -> _Difference:
    wanted = set(_wanted_rows(connection, kind, ids))
    listing = schema.listing
    query = select(*(listing.c[name] for name in _Row._fields))
    rows = connection.execute(query.where(listing.c.kind == int(kind), is_any(listing.c.id, ids)))
    stored = {_Row(*row) for row in rows}
    return _Difference(list(stored - wanted), sorted(wanted - stored, key=lambda row: row[:3]))


def _write(connection: Connection, difference: _Difference) -> None:
    listing = schema.listing.c
    for chunk in chunks(row[:3] for row in difference.stale):
        for start in range(0, len(chunk), 500):
            keys = tuple_(listing.kind, listing.id, listing.list_id)
            some = chunk[start : start + 500]
            connection.execute(delete(schema.listing).where(keys.in_(some)))
    insert_rows(connection, schema.listing, [row._asdict() for row in difference.missing])


def _wanted_rows(connection: Connection, kind: ListingKind, ids: Sequence[int]) -> Iterator[_Row]:
    """Yield the rows that these messages or series should have."""
    rows = [_Row(*row) for row in connection.execute(_base_query(kind), {"keys": list(ids)})]
    lists = _read_lists(connection, kind, [row.id for row in rows])
    for row in rows:
        yield row
        for list_id in lists.get(row.id, ()):
            yield row._replace(list_id=list_id)


@cache
def _base_query(kind: ListingKind) -> Select[Any]:
    """Return a query for the rows of `keys` that are not limited to a mailing list."""
    message, patch, series = schema.message.c, schema.patch.c, schema.series.c
    listing = schema.listing.c
    source: FromClause = schema.series
    own_id, date, person_id = message.id, message.date, message.person_id
    state: ColumnElement[Any] = cast(null(), listing.state.type)
    archived: ColumnElement[Any] = false()
    delegate_id: ColumnElement[Any] = cast(null(), listing.delegate_id.type)
    if kind is ListingKind.SERIES:
        own_id, date, person_id = series.id, series.date, series.person_id
        state = case((series.received_all, RECEIVED), else_=INCOMPLETE)
    elif kind is ListingKind.COVER:
        source = schema.cover.join(schema.message, message.id == schema.cover.c.message_id)
    else:
        source = schema.patch.join(schema.message, message.id == patch.message_id)
        state, archived = schema.current_state, patch.archived
        delegate_id = patch.delegate_id
    no_date = literal(NO_DATE, listing.date.type)
    return (
        select(
            literal(int(kind), listing.kind.type).label("kind"),
            own_id,
            literal(ALL_LISTS, listing.list_id.type).label("list_id"),
            func.coalesce(date, no_date).label("date"),
            person_id,
            state,
            archived,
            delegate_id,
        )
        .select_from(source)
        .where(any_key(_SOURCES[kind]))
    )


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


def _all_ids(connection: Connection, kind: ListingKind) -> Iterator[list[int]]:
    """Yield the ids of everything of a kind that is stored, and of all rows, in batches."""
    listing = schema.listing.c
    source = _SOURCES[kind]
    after = -1
    while True:
        stored = select(source).where(source > after).order_by(source).limit(_BATCH)
        rows = (
            select(listing.id)
            .where(listing.kind == int(kind), listing.list_id == ALL_LISTS, listing.id > after)
            .order_by(listing.id)
            .limit(_BATCH)
        )
        found = [*connection.execute(stored).scalars(), *connection.execute(rows).scalars()]
        # Neither has more rows than these up to the lesser of both ends.
        ids = sorted(set(found))[:_BATCH]
        if not ids:
            return
        yield ids
        after = ids[-1]
