"""Find the rows of one page of patches, covers or series in the read model.

No plan depends on statistics, nor on how common a state, a person or a list is:

- What the filters allow is a number of ranges of one index of `listing`, each in the order of the
  list. The database merges them, and stops at the end of the page.
- A filter that the ranges lack is a condition on each row that is read. If rows that satisfy it
  were rare, most of a list would be read for one page. So the rows that each such filter allows are
  counted before, up to a bound: where they are few, these are read and sorted.

SQLite is told which index to use. PostgreSQL chooses the only one that has the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    select,
    union,
    union_all,
)

from ingest.store import schema
from ingest.store.read.pages.filters import Page
from ingest.store.read.pages.listing_ranges import (
    FEW,
    MAX_RANGES,
    ListingFilter,
    OtherOrder,
    Ranges,
    Selection,
)
from ingest.store.schema.listing import ALL_LISTS, NO_DATE, ListingKind
from ingest.store.sql import IndexedBy, is_any

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
) -> list[int]:
    """Return the ids of a page, and one more where there is a next page.

    `page.field` is one of id, date, submitter, state, archived and delegate. `order` is the order
    of any other field.
    """
    choices = (filters.list_ids, filters.states, filters.people, filters.delegates)
    if any(choice is not None and not choice for choice in choices):
        return []
    return _Search(connection, kind, filters, page, order).find()


def count_ids(connection: Connection, kind: ListingKind, filters: ListingFilter) -> int | None:
    """Return how many rows a list has.

    Returns None if they are more than `MAX_COUNTED`, or if no index has what they must be.
    """
    choices = (filters.list_ids, filters.states, filters.people, filters.delegates)
    if any(choice is not None and not choice for choice in choices):
        return 0
    page = Page(1, 1, "id", descending=False)
    return _Search(connection, kind, filters, page, None).count()


@overload
def _distinct(values: None) -> None: ...
@overload
def _distinct(values: Sequence[_T]) -> Sequence[_T]: ...
def _distinct(values: Sequence[_T] | None) -> Sequence[_T] | None:
    return None if values is None else list(dict.fromkeys(values))


class _Search:
    """The search for one page."""

    def __init__(
        self,
        connection: Connection,
        kind: ListingKind,
        filters: ListingFilter,
        page: Page,
        order: OtherOrder | None,
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
        self._page = page
        self._known_states: list[str] | None = None
        self._order = order
        self._columns = self._order_columns(order)
        self._lists: Sequence[int] = self._filters.list_ids
        self._selections = list(filters.selections)
        if len(self._lists) > MAX_RANGES:
            self._selections.append(self._select_lists())
            self._lists = (ALL_LISTS,)

    def find(self) -> list[int]:
        """Return the ids."""
        if self._order is not None:
            return self._find_by_other(self._order)
        if self._page.field == "delegate" and self._filters.delegates is None:
            return self._find_by_delegate()
        return self._find(self._ordered_ranges(), ())

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

    def _find(self, ranges: Ranges, more: Sequence[_Condition]) -> list[int]:
        missing = self._filtered_columns() - ranges.covered
        few = self._find_few(missing)
        if few is not None:
            return self._sort(few, more)
        return self._merge(ranges, [*self._conditions(missing), *more], self._page.start)

    def _find_by_other(self, order: OtherOrder) -> list[int]:
        """Find rows by the order of another table: each of its rows is looked up in the listing."""
        columns = self._filtered_columns()
        few = self._find_few({*columns, "list_id"})
        if few is not None:
            return self._sort(few, ())
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
            .order_by(self._directed(order.value), self._directed(order.id_column))
        )
        query = query.limit(self._page.size + 1).offset(self._page.start)
        return list(self._connection.execute(query).scalars())

    def _find_by_delegate(self) -> list[int]:
        """Find patches by their delegates: those that have one, and those that have none.

        The index has only the former, which are few.
        """
        assigned = Ranges("ix_listing_delegate", self._of_lists(), has_date=True)
        others = Ranges("ix_listing_date", self._of_lists(), has_date=True)
        parts = [
            (assigned, (_listing.delegate_id, _listing.date, _listing.id), None),
            (others, (_listing.date, _listing.id), _listing.delegate_id.is_(None)),
        ]
        found: list[int] = []
        start, needed = self._page.start, self._page.size + 1
        for ranges, columns, condition in reversed(parts) if self._page.descending else parts:
            self._columns = columns
            conditions = self._conditions(self._filtered_columns() - ranges.covered)
            if condition is None:
                conditions.append(_listing.delegate_id.is_not(None))
            else:
                conditions.append(condition)
            some = self._merge(ranges, conditions, start, limit=needed)
            found += some
            needed -= len(some)
            if needed == 0:
                break
            if not some and start:
                start -= self._count(ranges, conditions)
            else:
                start = 0
        return found

    # --- the order ---

    def _order_columns(self, order: OtherOrder | None) -> tuple[_Column, ...]:
        """Return the columns by which the page is ordered. No two rows have the same values."""
        columns: dict[str, tuple[_Column, ...]] = {
            "id": (_listing.id,),
            "date": (_listing.date, _listing.id),
            "submitter": (_listing.person_id, _listing.date, _listing.id),
            "state": (_listing.state, _listing.archived, _listing.id),
            "archived": (_listing.archived, _listing.id),
            "delegate": (_listing.delegate_id, _listing.date, _listing.id),
        }
        if order is not None:
            return (order.of_listing().label("value"), _listing.id)
        return columns[self._page.field]

    def _ordered_ranges(self) -> Ranges:
        """Return the ranges that have the order of the page, and as many filters as possible."""
        filters, lists = self._filters, self._of_lists()
        candidates: list[Ranges] = []
        field = self._page.field
        is_dated = filters.since is not None or filters.before is not None
        if field in ("state", "archived"):
            values = lists
            if filters.archived is not None:
                values = [*lists, *self._of_states(), *self._of_archived()]
            elif field == "archived" or filters.states is not None:
                values = [*lists, *self._of_states()]
            return Ranges("ix_listing_state_id", values, has_date=False)
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

    def _sort(self, ids: Sequence[int], more: Sequence[_Condition]) -> list[int]:
        query = select(_listing.id, *(column for column in self._columns[:-1])).where(
            _listing.kind == self._kind,
            _listing.list_id.in_(self._lists),
            is_any(_listing.id, ids),
            *self._conditions(self._filtered_columns()),
            *more,
        )
        if len(self._lists) > 1:
            query = query.distinct()
        query = query.order_by(*(self._directed(column) for column in self._columns))
        query = query.limit(self._page.size + 1).offset(self._page.start)
        return list(self._connection.execute(query).scalars())

    # --- many rows ---

    def _count(self, ranges: Ranges, conditions: Sequence[_Condition]) -> int:
        query = self._ids(ranges).where(*conditions).distinct().subquery()
        count: int = self._connection.execute(select(func.count()).select_from(query)).scalar_one()
        return count

    def _merge(
        self,
        ranges: Ranges,
        conditions: Sequence[_Condition],
        start: int,
        *,
        limit: int | None = None,
    ) -> list[int]:
        """Return the ids of the page, of all rows in these ranges that satisfy the conditions."""
        conditions = [*conditions, *(self._of_dates() if ranges.has_date else ())]
        if "state" in ranges.index and "state" not in ranges.covered:
            conditions.append(_listing.state.is_not(None))  # as the index has it
        limit = self._page.size + 1 if limit is None else limit
        names = [f"value{place}" for place in range(len(self._columns))]
        columns = [column.label(name) for column, name in zip(self._columns, names, strict=True)]
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
            order = [self._directed(column) for column in columns]
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
        query = query.order_by(*(self._directed(label) for label in labels))
        rows = self._connection.execute(query.limit(limit).offset(start))
        return [row[-1] for row in rows]

    def _directed(self, column: _Column) -> _Column:
        return column.desc() if self._page.descending else column.asc()

    @property
    def _is_sqlite(self) -> bool:
        return self._connection.dialect.name == "sqlite"

    @staticmethod
    def _use(index: str, query: Select[Any]) -> Select[Any]:
        return query.select_from(IndexedBy(schema.listing, index))
