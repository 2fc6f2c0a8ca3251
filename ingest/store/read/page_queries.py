"""Find the rows of one page of a list, by filters and order.

Ids are read first, and one more than the page has, which shows whether there is a next page: no
row is counted, and what a page shows is read for its own rows only. Every filter is a condition on
an indexed column, or on a set of ids that was looked up before, so that the planner can choose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Table, false, or_, select

from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.read.directory import find_account_ids, find_person_ids
from ingest.store.read.filters import (
    CheckFilter,
    DateFilter,
    MessageFilter,
    Page,
    PatchFilter,
    SeriesFilter,
)
from ingest.store.read.messages import resolve_aliases
from ingest.store.sql import InOrder

Condition = ColumnElement[bool]
Orders = Mapping[str, ColumnElement[Any]]

_message, _posting, _member = schema.message.c, schema.posting.c, schema.member.c
_patch, _cover, _series = schema.patch.c, schema.cover.c, schema.series.c

# The fields that each list can be ordered by.
_PATCH_ORDERS: Orders = {
    "id": _patch.message_id,
    "name": _patch.name,
    "date": _message.date,
    "submitter": _message.person_id,
    "state": schema.current_state,
    "archived": _patch.archived,
    "delegate": _patch.delegate_id,
    "hash": _patch.hash,
}
_COVER_ORDERS: Orders = {
    "id": _cover.message_id,
    "name": _cover.name,
    "date": _message.date,
    "submitter": _message.person_id,
}
_SERIES_ORDERS: Orders = {
    "id": _series.id,
    "name": _series.name,
    "date": _series.date,
    "submitter": _series.person_id,
    "received_all": _series.received_all,
}
PATCH_ORDERS = tuple(_PATCH_ORDERS)
COVER_ORDERS = tuple(_COVER_ORDERS)
SERIES_ORDERS = tuple(_SERIES_ORDERS)
COMMENT_ORDERS = CHECK_ORDERS = ("id", "date")
DIRECTORY_ORDERS = ("id", "name")


def find_patch_ids(connection: Connection, filters: PatchFilter, page: Page) -> list[int]:
    """Return the ids of a page of patches, and one more where there is a next page."""
    conditions = _message_conditions(connection, filters, _patch.message_id, _patch.name)
    if filters.states is not None:
        conditions.append(schema.current_state.in_(filters.states))
    if filters.archived is not None:
        conditions.append(_patch.archived.is_(filters.archived))
    if filters.hashes is not None:
        conditions.append(_patch.hash.in_(filters.hashes))
    if filters.delegates is not None:
        accounts = find_account_ids(connection, filters.delegates)
        conditions.append(_patch.delegate_id.in_(accounts))
    source = _join_message(schema.patch, _patch.message_id, filters, page)
    return _find_ids(connection, source, _patch.message_id, conditions, _PATCH_ORDERS, page)


def find_cover_ids(connection: Connection, filters: MessageFilter, page: Page) -> list[int]:
    """Return the ids of a page of covers, and one more where there is a next page."""
    conditions = _message_conditions(connection, filters, _cover.message_id, _cover.name)
    source = _join_message(schema.cover, _cover.message_id, filters, page)
    return _find_ids(connection, source, _cover.message_id, conditions, _COVER_ORDERS, page)


def find_series_ids(connection: Connection, filters: SeriesFilter, page: Page) -> list[int]:
    """Return the ids of a page of series, and one more where there is a next page."""
    conditions: list[Condition] = []
    if filters.list_ids is not None:
        # Read from the members, of which there are few: the planner, which has no statistics,
        # would go through all postings of the list for each series.
        postings = InOrder(schema.member, schema.posting, _posting.message_id == _member.message_id)
        posted = (
            select(_member.message_id)
            .select_from(postings)
            .where(_member.series_id == _series.id, _posting.list_id.in_(filters.list_ids))
        )
        conditions.append(posted.exists())
    if filters.submitters is not None:
        people = find_person_ids(connection, filters.submitters)
        conditions.append(_series.person_id.in_(people))
    if filters.text is not None:
        conditions.append(_series.name.icontains(filters.text, autoescape=True))
    conditions += date_conditions(filters, _series.date)
    return _find_ids(connection, schema.series, _series.id, conditions, _SERIES_ORDERS, page)


def find_comment_ids(connection: Connection, parent_id: int, page: Page) -> list[int]:
    """Return the ids of a page of comments on a patch or cover, and one more for a next page."""
    comment = schema.comment.c
    orders: Orders = {"id": comment.message_id, "date": _message.date}
    source = schema.comment.join(schema.message, _message.id == comment.message_id)
    conditions = [comment.parent_id == parent_id]
    return _find_ids(connection, source, comment.message_id, conditions, orders, page)


def find_reply_ids(connection: Connection, parent_id: int, *, limit: int) -> list[int]:
    """Return the ids of the first `limit` comments on a patch or cover, the oldest first."""
    comment = schema.comment.c
    query = (
        select(comment.message_id)
        .join(schema.message, _message.id == comment.message_id)
        .where(comment.parent_id == parent_id)
        .order_by(_message.date, comment.message_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def find_check_ids(
    connection: Connection, message_id: int, filters: CheckFilter, page: Page
) -> list[int]:
    """Return the ids of a page of a patch's checks, and one more where there is a next page."""
    check = schema.check.c
    conditions: list[Condition] = [check.message_id == message_id]
    if filters.accounts is not None:
        conditions.append(check.account_id.in_(find_account_ids(connection, filters.accounts)))
    if filters.states is not None:
        conditions.append(check.state.in_(filters.states))
    if filters.contexts is not None:
        conditions.append(check.context.in_(filters.contexts))
    conditions += date_conditions(filters, check.date)
    orders: Orders = {"id": check.id, "date": check.date}
    return _find_ids(connection, schema.check, check.id, conditions, orders, page)


def find_people_page(connection: Connection, text: str | None, page: Page) -> list[int]:
    """Return the ids of a page of people. `text` is a part of a name or an address."""
    return _find_by_name_or_email(connection, schema.person, text, page)


def find_account_page(connection: Connection, text: str | None, page: Page) -> list[int]:
    """Return the ids of a page of accounts. `text` is a part of a name or an address."""
    return _find_by_name_or_email(connection, schema.account, text, page)


def read_outcome(connection: Connection, message_id: int) -> Outcome | None:
    """Return the outcome of a message, None where there is no message with that id."""
    query = select(_message.outcome).where(_message.id == message_id)
    outcome = connection.execute(query).scalar_one_or_none()
    return Outcome(outcome) if outcome is not None else None


def find_existing_patches(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Return those of these ids that are ids of patches."""
    query = select(_patch.message_id).where(_patch.message_id.in_(message_ids))
    return set(connection.execute(query).scalars())


# --- conditions ------------------------------------------------------------------------------


def date_conditions(filters: DateFilter, column: ColumnElement[Any]) -> list[Condition]:
    """Return the conditions of a date filter on a column of dates."""
    conditions: list[Condition] = []
    if filters.since is not None:
        conditions.append(column >= filters.since)
    if filters.before is not None:
        conditions.append(column < filters.before)
    return conditions


def _message_conditions(
    connection: Connection,
    filters: MessageFilter,
    id_column: ColumnElement[int],
    name_column: ColumnElement[str],
) -> list[Condition]:
    conditions: list[Condition] = []
    if filters.list_ids is not None:
        posted = select(_posting.mail_id).where(
            _posting.message_id == id_column, _posting.list_id.in_(filters.list_ids)
        )
        conditions.append(posted.exists() if filters.list_ids else false())
    if filters.series_ids is not None:
        members = select(_member.message_id).where(_member.series_id.in_(filters.series_ids))
        conditions.append(id_column.in_(members))
    if filters.submitters is not None:
        people = find_person_ids(connection, filters.submitters)
        conditions.append(_message.person_id.in_(people))
    if filters.msgids is not None:
        aliased = resolve_aliases(connection, filters.msgids).values()
        conditions.append(_message.msgid.in_({*filters.msgids, *aliased}))
    if filters.text is not None:
        conditions.append(name_column.icontains(filters.text, autoescape=True))
    return conditions + date_conditions(filters, _message.date)


def _join_message(
    table: Table, id_column: ColumnElement[int], filters: MessageFilter, page: Page
) -> FromClause:
    """Return the table, joined with `message` only where a filter or the order needs it.

    Later pages of a plain list would otherwise look up each message that they skip.
    """
    is_needed = page.field in ("date", "submitter") or any(
        condition is not None
        for condition in (filters.submitters, filters.msgids, filters.since, filters.before)
    )
    return table.join(schema.message, _message.id == id_column) if is_needed else table


def _find_by_name_or_email(
    connection: Connection, table: Table, text: str | None, page: Page
) -> list[int]:
    columns = table.c
    conditions: list[Condition] = []
    if text is not None:
        conditions.append(
            or_(
                columns.name.icontains(text, autoescape=True),
                columns.email.icontains(text, autoescape=True),
            )
        )
    orders: Orders = {"id": columns.id, "name": columns.name}
    return _find_ids(connection, table, columns.id, conditions, orders, page)


def _find_ids(
    connection: Connection,
    source: FromClause,
    id_column: ColumnElement[int],
    conditions: list[Condition],
    orders: Orders,
    page: Page,
) -> list[int]:
    query = select(id_column).select_from(source).where(*conditions)
    query = _ordered(query, orders[page.field], page)
    # Rows with equal values need one order too, or pages would overlap.
    if orders[page.field] is not id_column:
        query = _ordered(query, id_column, page)
    return list(connection.execute(query.limit(page.size + 1).offset(page.start)).scalars())


def _ordered(query: Select[Any], column: ColumnElement[Any], page: Page) -> Select[Any]:
    return query.order_by(column.desc() if page.descending else column.asc())
