"""Read published events: the numbers of one page, and their rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select

from ingest.store import schema
from ingest.store.read.directory import find_account_ids
from ingest.store.read.filters import EventFilter, Page

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


def find_event_numbers(connection: Connection, filters: EventFilter, page: Page) -> list[int]:
    """Return the numbers of a page of events, and one more where there is a next page.

    The order is that of the numbers whatever field the page names: dates rise with numbers. So a
    range of dates is looked up first, as one of numbers.
    """
    event = schema.event.c
    conditions: list[ColumnElement[bool]] = [event.number.is_not(None)]
    if filters.list_ids is not None:
        posting = schema.posting.c
        posted = select(posting.mail_id).where(
            posting.message_id == event.message_id, posting.list_id.in_(filters.list_ids)
        )
        conditions.append(posted.exists())
    if filters.categories is not None:
        conditions.append(event.category.in_(filters.categories))
    if filters.series_ids is not None:
        conditions.append(event.series_id.in_(filters.series_ids))
    for message_ids in (filters.patch_ids, filters.cover_ids):
        if message_ids is not None:
            conditions.append(event.message_id.in_(message_ids))
            conditions.append(event.category.not_in(_SERIES_CATEGORIES))
    if filters.actors is not None:
        conditions.append(event.account_id.in_(find_account_ids(connection, filters.actors)))
    if filters.since is not None:
        conditions.append(event.number >= _first_number_since(connection, filters.since))
    if filters.before is not None:
        conditions.append(event.number < _first_number_since(connection, filters.before))
    order = event.number.desc() if page.descending else event.number.asc()
    query = select(event.number).where(*conditions).order_by(order)
    return list(connection.execute(query.limit(page.size + 1).offset(page.start)).scalars())


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
