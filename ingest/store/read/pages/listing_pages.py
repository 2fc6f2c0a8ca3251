"""Find the rows of one page of patches, covers or series in the read model.

No plan depends on statistics, nor on how common a state, a person or a list is:

- What the filters allow is a number of ranges of one index of `listing`, each in the order of the
  list. The database merges them, and stops at the end of the page.
- A filter that the ranges lack is a condition on each row that is read. If rows that satisfy it
  were rare, most of a list would be read for one page. So the rows that each such filter allows are
  counted before, up to a bound: where they are few, these are read and sorted.

- Orders that no index of `listing` has are those of pieces that follow each other: the rows of each
  state, and those of each submitter or delegate in the order of an index of their names.

SQLite is told which index to use. PostgreSQL chooses the only one that has the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, overload

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    literal,
    select,
    union,
    union_all,
)

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.read.pages.filters import Page
from ingest.store.read.pages.listing_ranges import (
    BY_DELEGATE,
    BY_SUBMITTER,
    FEW,
    MAX_RANGES,
    ListingFilter,
    ListingPart,
    OtherOrder,
    OwnerOrder,
    Ranges,
    Selection,
    SortKey,
)
from ingest.store.schema.listing import ALL_LISTS, NO_DATE, ListingKind
from ingest.store.sql.key_lists import is_any
from ingest.store.sql.planner_hints import IndexedBy, InOrder, index_order

_T = TypeVar("_T")
_Condition = ColumnElement[bool]
_Column = ColumnElement[Any]

_listing = schema.listing.c

# So many rows are counted, by an index, to find the last page; of a search, so many.
MAX_COUNTED = 10_000
_FEW_COUNTED = 500


def find_ids(
    connection: Connection,
    kind: ListingKind,
    filters: ListingFilter,
    page: Page,
    *,
    order: OtherOrder | None = None,
    states: Sequence[str] = (),
) -> list[int]:
    """Return the ids of a page, and one more where there is a next page.

    `page.field` is one of those of `_Search`. `order` is the order of any other field. `states` are
    the states in their order; others come after them.
    """
    choices = (filters.list_ids, filters.states, filters.people, filters.delegates)
    if any(choice is not None and not choice for choice in choices):
        return []
    return _Search(connection, kind, filters, page, order, states).find()


def count_ids(connection: Connection, kind: ListingKind, filters: ListingFilter) -> int | None:
    """Return how many rows a list has.

    Returns None if they are more than `MAX_COUNTED`, or if no index has what they must be.
    """
    choices = (filters.list_ids, filters.states, filters.people, filters.delegates)
    if any(choice is not None and not choice for choice in choices):
        return 0
    page = Page(1, 1, "id", descending=False)
    return _Search(connection, kind, filters, page, None, ()).count()


@overload
def _distinct(values: None) -> None: ...
@overload
def _distinct(values: Sequence[_T]) -> Sequence[_T]: ...
def _distinct(values: Sequence[_T] | None) -> Sequence[_T] | None:
    return None if values is None else list(dict.fromkeys(values))


# Orders that are those of one mailing list, or of all.
_OF_ONE_LIST = ("project", "submitter_name", "delegate_name")

# The columns of an order by state that are equal for one state.
_STATE_KEYS = 2


@frozen
class _Piece:
    """A piece of a list: `find` returns the ids from a place on, and at most so many."""

    find: Callable[[int, int], list[int]]
    count: Callable[[], int]


class _Search:
    """The search for one page.

    The fields of pages are id, date, submitter, state, archived and project, of which each has the
    order of the numbers that are in the columns, but states have their own. In `state_and_date`,
    `submitter_name` and `delegate_name`, rows that are equal are ordered by date, the newest first
    where the page ascends.
    """

    def __init__(
        self,
        connection: Connection,
        kind: ListingKind,
        filters: ListingFilter,
        page: Page,
        order: OtherOrder | None,
        states: Sequence[str],
    ) -> None:
        self._connection = connection
        self._kind = int(kind)
        # Two equal ranges would give each row twice.
        self._filters = replace(
            filters,
            list_ids=_distinct(filters.list_ids),
            states=_distinct(filters.states),
            people=_distinct(filters.people),
            delegates=_distinct(filters.delegates),
        )
        self._known_states: list[str] | None = None
        self._states = states
        self._order = order
        self._lists: Sequence[int] = self._filters.list_ids
        self._selections = list(filters.selections)
        if page.field == "project" and len(self._lists) == 1 and self._lists[0] != ALL_LISTS:
            page = replace(page, field="id")  # each record is shown as that list's
        if len(self._lists) > (1 if page.field in _OF_ONE_LIST else MAX_RANGES):
            self._selections.append(self._select_lists())
            self._lists = (ALL_LISTS,)
        self._page = page
        self._keys = self._make_keys(order)

    def find(self) -> list[int]:
        """Return the ids."""
        if self._order is not None:
            return self._find_by_other(self._order)
        match self._page.field:
            case "state" | "state_and_date":
                return self._find_by_state()
            case "submitter_name":
                return self._find_by_owner(BY_SUBMITTER)
            case "delegate_name":
                return self._find_by_owner(BY_DELEGATE)
            case _:
                return self._find(self._ordered_ranges())

    def count(self) -> int | None:
        """Return how many rows there are on all pages: see `count_ids`."""
        columns = self._filtered_columns()
        lists = self._of_lists()
        by_date = Ranges("ix_listing_date", lists, has_date=True)
        by_id = Ranges("ix_listing_id", lists, has_date=False)
        if not self._selections:
            for ranges in (by_id, *self._dated_ranges(), by_date):
                if columns <= ranges.covered:
                    return self._count_few(self._ids(ranges))
        # What is searched for is looked up once more: only where that takes no time.
        counted = (self._select_few(one.ids, _FEW_COUNTED) for one in self._selections)
        few = next((ids for ids in counted if ids is not None), None)
        if few is None:
            return None
        in_lists = (_listing.kind == self._kind, _listing.list_id.in_(self._lists))
        rows = select(_listing.id).where(*in_lists, is_any(_listing.id, few))
        return self._count_few(rows.where(*self._conditions(columns)))

    def _count_few(self, rows: Select[Any]) -> int | None:
        if len(self._lists) > 1:
            rows = rows.distinct()
        counted = select(func.count()).select_from(rows.limit(MAX_COUNTED + 1).subquery())
        count: int = self._connection.execute(counted).scalar_one()
        return count if count <= MAX_COUNTED else None

    def _find(self, ranges: Ranges) -> list[int]:
        missing = self._filtered_columns() - ranges.covered
        few = self._find_few(missing)
        if few is not None:
            return self._sort(few)
        part = ListingPart(ranges, self._keys)
        return self._merge(part, self._conditions(missing), self._page.start, self._page.size + 1)

    def _find_by_other(self, order: OtherOrder) -> list[int]:
        """Find rows by the order of another table: each of its rows is looked up in the listing."""
        columns = self._filtered_columns()
        few = self._find_few({*columns, "list_id"})
        if few is not None:
            return self._sort(few)
        conditions = self._conditions(columns)
        if tuple(self._lists) != (ALL_LISTS,):
            conditions.append(self._select_lists().condition)
        # OFFSET keeps PostgreSQL from making a join of it, which it would begin with the listing.
        listed = (
            select(_listing.id)
            .where(
                _listing.kind == self._kind,
                _listing.id == order.id_column,
                _listing.list_id == ALL_LISTS,
                *conditions,
            )
            .offset(0)
            .correlate(order.id_column.table)
        )
        query = (
            select(order.id_column)
            .select_from(IndexedBy(order.id_column.table, order.index))
            .where(listed.exists())
            .order_by(
                *(
                    key.applied_to(column)
                    for key, column in zip(self._keys, (order.value, order.id_column), strict=True)
                )
            )
        )
        query = query.limit(self._page.size + 1).offset(self._page.start)
        return list(self._connection.execute(query).scalars())

    def _find_by_owner(self, order: OwnerOrder) -> list[int]:
        """Find rows by the name of their person or account, then those that have none."""
        columns = self._filtered_columns()
        few = self._find_few({*columns, "list_id"})
        if few is not None:
            return self._sort(few)
        pieces = [self._piece_of_owners(order)]
        if order.column.nullable and self._filters.delegates is None:
            ranges = Ranges("ix_listing_date", self._of_lists(), has_date=True)
            others = ListingPart(ranges, self._by_date(), order.column.is_(None))
            pieces.append(self._piece(others))
        return self._concatenate(reversed(pieces) if self._page.descending else pieces)

    def _piece_of_owners(self, order: OwnerOrder) -> _Piece:
        """Return the rows that have an owner: those of each after those of the one before."""
        owner = order.table.c
        source = InOrder(
            IndexedBy(order.table, order.index),
            IndexedBy(schema.listing, order.listing_index),
            order.column == owner.id,
        )
        (list_id,) = self._lists
        of_list = (_listing.kind == self._kind, _listing.list_id == list_id)
        # A filter of owners is one of their own table: it would be a range of another order.
        conditions = self._conditions(self._filtered_columns() - {order.column.name})
        owners = {"person_id": self._filters.people, "delegate_id": self._filters.delegates}
        wanted = owners[order.column.name]
        if wanted is not None:
            conditions.append(is_any(owner.id, wanted))
        query = select(_listing.id).select_from(source).where(*of_list, *conditions)
        names = [SortKey(column, self._page.descending) for column in (order.name(), owner.id)]
        ordered = query.order_by(*(key.apply() for key in (*names, *self._by_date())))
        return _Piece(partial(self._find_owned, ordered), partial(self._count, query))

    def _find_owned(self, ordered: Select[Any], start: int, limit: int) -> list[int]:
        with index_order(self._connection):
            return list(self._connection.execute(ordered.limit(limit).offset(start)).scalars())

    def _find_by_state(self) -> list[int]:
        """Find rows by the order of states: those of each state are ranges of an index."""
        columns = self._filtered_columns() - {"state", "archived"}
        few = self._find_few(columns)
        if few is not None:
            return self._sort(few)
        has_date = self._page.field == "state_and_date"
        index = "ix_listing_state_date" if has_date else "ix_listing_state_id"
        of_lists, of_archived = self._of_lists(), self._of_archived()
        keys = self._keys[_STATE_KEYS:]
        pieces = (
            self._piece(
                ListingPart(Ranges(index, [*of_lists, of_state, *of_archived], has_date), keys)
            )
            for state in self._ordered_states()
            for of_state in ((_listing.state, (state,)),)
        )
        return self._concatenate(pieces)

    def _ordered_states(self) -> Iterator[str]:
        """Yield the states of which rows are wanted in the order of the page."""
        wanted = self._filters.states
        known = [state for state in self._states if wanted is None or state in wanted]
        if not self._page.descending:
            yield from known
        others = self._read_states() if wanted is None else wanted
        yield from sorted(set(others) - set(known), reverse=self._page.descending)
        if self._page.descending:
            yield from reversed(known)

    def _piece(self, part: ListingPart) -> _Piece:
        conditions = self._conditions(self._filtered_columns() - part.ranges.covered)
        if part.condition is not None:
            conditions.append(part.condition)
        ids = self._ids(part.ranges).where(*conditions)
        return _Piece(partial(self._merge, part, conditions), partial(self._count, ids))

    def _concatenate(self, pieces: Iterable[_Piece]) -> list[int]:
        """Return the ids of the page, of pieces that follow each other."""
        found: list[int] = []
        start, needed = self._page.start, self._page.size + 1
        for piece in pieces:
            ids = piece.find(start, needed)
            found += ids
            needed -= len(ids)
            if needed == 0:
                break
            if not ids and start:
                start -= piece.count()
            else:
                start = 0
        return found

    # --- the order ---

    def _make_keys(self, order: OtherOrder | None) -> tuple[SortKey, ...]:
        """Return that by which the page is ordered. No two rows have the same values."""
        columns: dict[str, tuple[_Column, ...]] = {
            "id": (_listing.id,),
            "date": (_listing.date, _listing.id),
            "submitter": (_listing.person_id, _listing.date, _listing.id),
            "archived": (_listing.archived, _listing.id),
            "project": (_listing.project_id, _listing.id),
        }
        by_date: tuple[SortKey, ...] = ()
        match self._page.field:
            case "state":
                of_page = (*self._state_columns(), _listing.id)
            case "state_and_date":
                of_page, by_date = self._state_columns(), self._by_date()
            case "submitter_name":
                of_page = (BY_SUBMITTER.of_listing().label("name"), _listing.person_id)
                by_date = self._by_date()
            case "delegate_name":
                has_none = _listing.delegate_id.is_(None)
                of_page = (has_none, BY_DELEGATE.of_listing().label("name"), _listing.delegate_id)
                by_date = self._by_date()
            case field if order is None:
                of_page = columns[field]
            case _:
                of_page = (order.of_listing().label("value"), _listing.id)
        return (*(SortKey(column, self._page.descending) for column in of_page), *by_date)

    def _state_columns(self) -> tuple[_Column, ...]:
        places = {state: place for place, state in enumerate(self._states)}
        others = literal(len(places))
        place = case(places, value=_listing.state, else_=others) if places else others
        return (place.label("place"), _listing.state)

    def _by_date(self) -> tuple[SortKey, ...]:
        """Return the order of rows that are otherwise equal: against that of the page."""
        descending = not self._page.descending
        return (SortKey(_listing.date, descending), SortKey(_listing.id, descending))

    def _ordered_ranges(self) -> Ranges:
        """Return the ranges that have the order of the page, and as many filters as possible."""
        filters, lists = self._filters, self._of_lists()
        candidates: list[Ranges] = []
        field = self._page.field
        is_dated = filters.since is not None or filters.before is not None
        if field == "archived":
            of_archived = self._of_archived() if filters.archived is not None else []
            values = [*lists, *self._of_states(), *of_archived]
            return Ranges("ix_listing_state_id", values, has_date=False)
        if field == "project":
            return Ranges("ix_listing_project", [], has_date=False)
        if field == "submitter":
            people = [] if filters.people is None else [(_listing.person_id, filters.people)]
            candidates.append(Ranges("ix_listing_person", [*lists, *people], has_date=False))
        elif field == "id" and not is_dated:
            if filters.states is not None or filters.archived is not None:
                values = [*lists, *self._of_states(), *self._of_archived()]
                candidates.append(Ranges("ix_listing_state_id", values, has_date=False))
        else:
            candidates += self._dated_ranges()
        for ranges in candidates:
            if ranges.count <= MAX_RANGES:
                return ranges
        if field == "submitter":
            return Ranges("ix_listing_person", lists, has_date=False)
        if field == "id" and not is_dated:
            return Ranges("ix_listing_id", lists, has_date=False)
        return Ranges("ix_listing_date", lists, has_date=True)

    def _dated_ranges(self) -> list[Ranges]:
        """Return the ranges that are in the order of dates, the narrowest first."""
        filters, lists = self._filters, self._of_lists()
        ranges: list[Ranges] = []
        if filters.people is not None:
            values = [*lists, (_listing.person_id, filters.people)]
            ranges.append(Ranges("ix_listing_person", values, has_date=True))
        if filters.delegates is not None:
            values = [*lists, (_listing.delegate_id, filters.delegates)]
            ranges.append(Ranges("ix_listing_delegate", values, has_date=True))
        if filters.states is not None or filters.archived is not None:
            values = [*lists, *self._of_states(), *self._of_archived()]
            ranges.append(Ranges("ix_listing_state_date", values, has_date=True))
        return ranges

    def _of_lists(self) -> list[tuple[_Column, Sequence[Any]]]:
        return [(_listing.list_id, self._lists)]

    def _of_states(self) -> list[tuple[_Column, Sequence[Any]]]:
        states = self._filters.states
        return [(_listing.state, self._read_states() if states is None else states)]

    def _of_archived(self) -> list[tuple[_Column, Sequence[Any]]]:
        archived = self._filters.archived
        return [(_listing.archived, (False, True) if archived is None else (archived,))]

    def _read_states(self) -> Sequence[str]:
        """Return the states that there are, each found from the one before."""
        if self._known_states is not None:
            return self._known_states
        states: list[str] = []
        of_kind = (_listing.kind == self._kind, _listing.list_id == ALL_LISTS)
        query = self._use("ix_listing_state_id", select(_listing.state)).where(*of_kind)
        query = query.order_by(_listing.state).limit(1)
        while True:
            is_next = _listing.state > states[-1] if states else _listing.state.is_not(None)
            state = self._connection.execute(query.where(is_next)).scalar()
            if state is None:
                self._known_states = states
                return states
            states.append(state)

    # --- filters ---

    def _filtered_columns(self) -> set[str]:
        filters = self._filters
        given = {
            "state": filters.states,
            "archived": filters.archived,
            "person_id": filters.people,
            "delegate_id": filters.delegates,
            "date": filters.since or filters.before,
        }
        return {name for name, value in given.items() if value is not None}

    def _conditions(self, columns: set[str]) -> list[_Condition]:
        """Return the conditions of the filters on these columns, and of all selections."""
        filters = self._filters
        conditions = [selection.condition for selection in self._selections]
        if "state" in columns and filters.states is not None:
            conditions.append(_listing.state.in_(filters.states))
        if "archived" in columns and filters.archived is not None:
            conditions.append(_listing.archived == filters.archived)
        if "person_id" in columns and filters.people is not None:
            conditions.append(is_any(_listing.person_id, filters.people))
        if "delegate_id" in columns and filters.delegates is not None:
            conditions.append(_listing.delegate_id.in_(filters.delegates))
        return conditions + (self._of_dates() if "date" in columns else [])

    def _of_dates(self) -> list[_Condition]:
        filters = self._filters
        conditions: list[_Condition] = []
        if filters.since is not None:
            conditions.append(_listing.date >= filters.since)
        elif filters.before is not None:
            conditions.append(_listing.date > NO_DATE)  # what has no date is not before any
        if filters.before is not None:
            conditions.append(_listing.date < filters.before)
        return conditions

    def _select_lists(self) -> Selection:
        other = schema.listing.alias("posted").c
        is_posted = (other.kind == self._kind, other.list_id.in_(self._filters.list_ids))
        own = select(other.id).where(*is_posted, other.id == _listing.id)
        return Selection(select(other.id).where(*is_posted), own.correlate(schema.listing).exists())

    # --- few rows ---

    def _find_few(self, missing: set[str]) -> list[int] | None:
        """Return the ids of the rows that one filter allows, if they are few; else None."""
        for selection in self._selections:
            ids = self._select_few(selection.ids, selection.few)
            if ids is not None:
                return ids
        candidates = self._dated_ranges()
        if self._of_dates():
            candidates.append(Ranges("ix_listing_date", self._of_lists(), has_date=True))
        if tuple(self._lists) != (ALL_LISTS,):
            candidates.append(Ranges("ix_listing_id", self._of_lists(), has_date=False))
        for ranges in candidates:
            if missing & ranges.covered:
                ids = self._read_few(self._ids(ranges), FEW)
                if ids is not None:
                    return ids
        return None

    def _select_few(self, ids: Select[Any], few: int) -> list[int] | None:
        """Return what `_read_few` does, where it takes long to find what is to be counted."""
        found = self._connection.execute(ids.limit(few + 1)).scalars().all()
        return list(found) if len(found) <= few else None

    def _read_few(self, ids: Select[Any], few: int) -> list[int] | None:
        counted = ids.limit(few + 1).subquery()
        count = self._connection.execute(select(func.count()).select_from(counted)).scalar_one()
        return list(self._connection.execute(ids).scalars()) if count <= few else None

    def _ids(self, ranges: Ranges) -> Select[Any]:
        """Return a query for the ids in ranges, in no order."""
        dates = self._of_dates() if ranges.has_date else []
        query = select(_listing.id).where(_listing.kind == self._kind, *ranges.all(), *dates)
        return self._use(ranges.index, query)

    def _sort(self, ids: Sequence[int]) -> list[int]:
        query = select(_listing.id, *(key.value for key in self._keys[:-1])).where(
            _listing.kind == self._kind,
            _listing.list_id.in_(self._lists),
            is_any(_listing.id, ids),
            *self._conditions(self._filtered_columns()),
        )
        if len(self._lists) > 1:
            query = query.distinct()
        query = query.order_by(*(key.apply() for key in self._keys))
        query = query.limit(self._page.size + 1).offset(self._page.start)
        return list(self._connection.execute(query).scalars())

    # --- many rows ---

    def _count(self, ids: Select[Any]) -> int:
        rows = (ids.distinct() if len(self._lists) > 1 else ids).subquery()
        count: int = self._connection.execute(select(func.count()).select_from(rows)).scalar_one()
        return count

    def _merge(
        self,
        part: ListingPart,
        conditions: Sequence[_Condition],
        start: int,
        limit: int,
    ) -> list[int]:
        """Return the ids of a page, of all rows of a part that satisfy the conditions."""
        ranges, keys = part.ranges, part.keys
        conditions = [*conditions, *(self._of_dates() if ranges.has_date else ())]
        if ranges.index == "ix_listing_project":
            conditions.append(_listing.project_id.is_not(None))  # as the index has it
        names = [f"value{place}" for place in range(len(keys))]
        columns = [key.value.label(name) for key, name in zip(keys, names, strict=True)]
        branches = [
            self._use(ranges.index, select(*columns)).where(
                _listing.kind == self._kind, *of_range, *conditions
            )
            for of_range in ranges.each()
        ]
        if not branches:  # there are no states, and so no patches
            return []
        query: Any
        if not self._is_sqlite:
            # PostgreSQL plans each branch by itself, and merges them if they are sorted.
            order = [key.applied_to(column) for key, column in zip(keys, columns, strict=True)]
            branches = [branch.order_by(*order).limit(start + limit) for branch in branches]
        if len(branches) == 1:
            query = branches[0].order_by(None)
        elif len(self._lists) == 1:
            query = union_all(*branches)
        elif self._is_sqlite:
            query = union(*branches)  # SQLite merges these as well
        else:
            merged = union_all(*branches).subquery()
            query = select(*(merged.c[name] for name in names)).distinct()
        labels = [query.selected_columns[name] for name in names]
        ordered = [key.applied_to(label) for key, label in zip(keys, labels, strict=True)]
        query = query.order_by(*ordered)
        with index_order(self._connection):
            rows = self._connection.execute(query.limit(limit).offset(start)).all()
        return [row[-1] for row in rows]

    @property
    def _is_sqlite(self) -> bool:
        return self._connection.dialect.name == "sqlite"

    @staticmethod
    def _use(index: str, query: Select[Any]) -> Select[Any]:
        return query.select_from(IndexedBy(schema.listing, index))
