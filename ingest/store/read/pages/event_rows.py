"""Read published events: the numbers of one page, and their rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    func,
    select,
    union_all,
)

from ingest.store import schema
from ingest.store.read.directory import find_account_ids
from ingest.store.read.pages.filters import EventFilter, Page
from ingest.store.read.pages.listing_pages import MAX_COUNTED
from ingest.store.sql.planner_hints import IndexedBy

# Events of a series. Their `message_id` names the message that caused them, not their subject.
_SERIES_CATEGORIES = ("series-created", "series-completed")


@dataclass(frozen=True, slots=True)
class EventRow:
    """A published event. Its ids are those of rows that may be gone by now.

    `number`: its place in the order of publication. `message_id`: the patch or cover.
    `account_id`: the account that caused it. `previous` and `current`: the values of a change, as
    text; ids of several rows are joined by commas.
    """

    number: int
    date: datetime
    category: str
    message_id: int | None
    comment_id: int | None
    series_id: int | None
    check_id: int | None
    account_id: int | None
    previous: str | None
    current: str | None


# So many events are read in their order to find those of a list.
_FEW_EVENTS = 5_000
# So many messages of a list are looked up to find their events.
_FEW_MESSAGES = 8_000


def find_event_numbers(connection: Connection, filters: EventFilter, page: Page) -> list[int]:
    """Return the numbers of a page of events, and one more where there is a next page.

    The order is that of the numbers whatever field the page names: dates rise with numbers. So a
    range of dates is looked up first, as one of numbers. Events of few rows are found by these, and
    sorted; those of some categories are merged.
    """
    accounts = None
    if filters.actors is not None:
        accounts = find_account_ids(connection, filters.actors)
    if filters.list_ids == () or filters.categories == () or accounts == []:
        return []
    event = schema.event.c
    range_ = _number_range(connection, filters)
    conditions = [event.number >= range_.start, event.number < range_.stop]
    index = None
    if filters.series_ids is not None:
        conditions.append(event.series_id.in_(filters.series_ids))
        index = "ix_event_series_id"
    if accounts is not None:
        conditions.append(event.account_id.in_(accounts))
        index = "ix_event_account_id"
    for message_ids in (filters.patch_ids, filters.cover_ids):
        if message_ids is not None:
            conditions.append(event.message_id.in_(message_ids))
            conditions.append(event.category.not_in(_SERIES_CATEGORIES))
            index = "ix_event_message_id"
    if filters.list_ids is not None:
        posting = schema.posting.c
        posted = select(posting.message_id).where(posting.list_id.in_(filters.list_ids))
        own = posted.where(posting.message_id == event.message_id)
        is_posted: ColumnElement[bool] = own.correlate(schema.event).exists()
        if index is None and len(range_) > _FEW_EVENTS:
            near = range_[-_FEW_EVENTS:] if page.descending else range_[:_FEW_EVENTS]
            within = [event.number >= near.start, event.number < near.stop, is_posted]
            numbers = _read_page(connection, within, page, None, filters.categories)
            if len(numbers) > page.size:  # the list has its part of the events
                return numbers
            if _are_few(connection, posted):
                is_posted = event.message_id.in_(posted)
                index = "ix_event_message_id"
        conditions.append(is_posted)
    return _read_page(connection, conditions, page, index, filters.categories)


def are_few(connection: Connection) -> bool:
    """Return whether the store has so few events that they can be counted for a page."""
    last = connection.execute(select(func.max(schema.event.c.number))).scalar()
    return (last or 0) <= MAX_COUNTED


def _number_range(connection: Connection, filters: EventFilter) -> range:
    """Return the numbers of the events in a range of dates."""
    last = select(func.max(schema.event.c.number))
    stop = (connection.execute(last).scalar() or 0) + 1
    start = 1
    if filters.since is not None:
        start = min(_first_number_since(connection, filters.since), stop)
    if filters.before is not None:
        stop = min(_first_number_since(connection, filters.before), stop)
    return range(start, stop)


def _are_few(connection: Connection, messages: Select[Any]) -> bool:
    few = messages.limit(_FEW_MESSAGES + 1).subquery()
    count: int = connection.execute(select(func.count()).select_from(few)).scalar_one()
    return count <= _FEW_MESSAGES


def _read_page(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    page: Page,
    index: str | None,
    categories: Sequence[str] | None,
) -> list[int]:
    event = schema.event.c
    number = event.number.label("number")
    source: FromClause = schema.event if index is None else IndexedBy(schema.event, index)
    query = select(number).select_from(source).where(*conditions)
    selected: Any = query
    if categories is not None and index is None:
        source = IndexedBy(schema.event, "ix_event_category")
        query = select(number).select_from(source).where(*conditions)
        branches = [query.where(event.category == category) for category in set(categories)]
        if connection.dialect.name == "postgresql":
            # It plans each branch by itself, and merges them if they are sorted.
            limit = page.start + page.size + 1
            branches = [_ordered(branch, number, page).limit(limit) for branch in branches]
        selected = union_all(*branches) if len(branches) > 1 else branches[0].order_by(None)
    elif categories is not None:
        selected = query.where(event.category.in_(categories))
    ordered = _ordered(selected, selected.selected_columns["number"], page)
    rows = connection.execute(ordered.limit(page.size + 1).offset(page.start))
    return list(rows.scalars())


def _ordered(query: Any, number: ColumnElement[int], page: Page) -> Any:
    return query.order_by(number.desc() if page.descending else number.asc())


_AFTER_ALL = 2**63 - 1


def _first_number_since(connection: Connection, date: datetime) -> int:
    """Return the number of the first event from a date on."""
    event = schema.event.c
    query = select(event.number).where(event.date >= date).order_by(event.date).limit(1)
    number: int | None = connection.execute(query).scalar()
    return _AFTER_ALL if number is None else number


def read_events(connection: Connection, numbers: Collection[int]) -> dict[int, EventRow]:
    """Return the published events with these numbers, by number."""
    event = schema.event.c
    query = select(schema.event).where(event.number.in_(numbers))
    return {
        row.number: EventRow(
            number=row.number,
            date=row.date,
            category=row.category,
            message_id=row.message_id,
            comment_id=row.comment_id,
            series_id=row.series_id,
            check_id=row.check_id,
            account_id=row.account_id,
            previous=row.previous,
            current=row.current,
        )
        for row in connection.execute(query)
    }
