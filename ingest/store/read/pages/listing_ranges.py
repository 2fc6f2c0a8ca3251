"""Define what rows of a list must be, and the ranges of indexes in which they are.

`listing_pages` finds a page of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.schema.listing import ALL_LISTS
from ingest.store.sql.key_lists import is_any

_Condition = ColumnElement[bool]
_Column = ColumnElement[Any]

# So many rows are sorted rather than found in order.
FEW = 10_000

# So many ranges of an index are merged.
MAX_RANGES = 64


@frozen
class Selection:
    """A condition on rows that columns of `listing` do not have.

    `ids`: a query for the ids of the rows that satisfy it. `condition`: the same for one row of
    `listing`. `few`: of so many rows, and no more, the ids are read.
    """

    ids: Select[Any]
    condition: _Condition
    few: int = FEW


@frozen(kw_only=True)
class ListingFilter:
    """What the rows of a page must be; None means "no condition"."""

    list_ids: Sequence[int] = (ALL_LISTS,)
    states: Sequence[str] | None = None
    archived: bool | None = None
    people: Sequence[int] | None = None
    delegates: Sequence[int] | None = None
    since: datetime | None = None
    before: datetime | None = None
    selections: Sequence[Selection] = ()


@frozen
class Ranges:
    """Ranges of an index: the values of its first columns after the kind.

    `has_date`: whether the column after them is the date.
    """

    index: str
    values: Sequence[tuple[_Column, Sequence[Any]]]
    has_date: bool

    @property
    def covered(self) -> set[str]:
        """Return the names of the columns whose filters the ranges satisfy."""
        names = {column.key for column, _ in self.values if column.key is not None}
        return names | ({"date"} if self.has_date else set())

    @property
    def count(self) -> int:
        """Return the number of ranges."""
        count = 1
        for _, values in self.values:
            count *= len(values)
        return count

    def each(self) -> Iterator[list[_Condition]]:
        """Yield the conditions of each range."""
        columns = [column for column, _ in self.values]
        for values in product(*(values for _, values in self.values)):
            yield [column == value for column, value in zip(columns, values, strict=True)]

    def all(self) -> list[_Condition]:
        """Return the conditions of all ranges together."""
        return [
            is_any(column, values) if len(values) > MAX_RANGES else column.in_(values)
            for column, values in self.values
        ]


@frozen
class SortKey:
    """A value by which rows are ordered, from the greatest on if it is `descending`."""

    value: _Column
    descending: bool

    def applied_to(self, column: _Column) -> _Column:
        """Return the order by a column that has the value."""
        return column.desc() if self.descending else column.asc()

    def apply(self) -> _Column:
        """Return the order by the value."""
        return self.applied_to(self.value)


@frozen
class ListingPart:
    """Rows of a list that follow each other on its pages: ranges that have the order `keys`.

    `condition`: what else the rows must be, None for nothing.
    """

    ranges: Ranges
    keys: Sequence[SortKey]
    condition: _Condition | None = None


@frozen
class OwnerOrder:
    """An order by the name of what a column of `listing` refers to, a person or an account.

    `index` has the names, and `listing_index` the rows of each in the order of their dates.
    """

    table: Table
    index: str
    column: Column[Any]
    listing_index: str

    def name(self) -> _Column:
        """Return that by which the names are ordered."""
        return schema.name_order(self.table.c.name)

    def of_listing(self) -> _Column:
        """Return the value for a row of `listing`."""
        query = select(self.name()).where(self.table.c.id == self.column)
        return query.correlate(schema.listing).scalar_subquery()


BY_SUBMITTER = OwnerOrder(
    schema.person, "ix_person_name", schema.listing.c.person_id, "ix_listing_person"
)
BY_DELEGATE = OwnerOrder(
    schema.account, "ix_account_name", schema.listing.c.delegate_id, "ix_listing_delegate"
)


@frozen
class OtherOrder:
    """An order by a value of another table, which has the id and an index with both."""

    value: _Column
    id_column: Column[Any]
    index: str

    def of_listing(self) -> _Column:
        """Return the value for a row of `listing`."""
        query = select(self.value).where(self.id_column == schema.listing.c.id)
        return query.correlate(schema.listing).scalar_subquery()
