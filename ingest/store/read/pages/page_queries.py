"""Find the rows of one page of a list, by filters and order.

Ids are read first, and one more than the page has, which shows whether there is a next page: no
row is counted, and what a page shows is read for its own rows only. Patches, covers and series are
found in the read model; see `listing_pages`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    and_,
    case,
    or_,
    select,
)

from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.read.directory import find_account_ids, find_person_ids
from ingest.store.read.messages import resolve_aliases
from ingest.store.read.pages.filters import (
    CheckFilter,
    DateFilter,
    MessageFilter,
    Page,
    PatchFilter,
    SeriesFilter,
)
from ingest.store.read.pages.list_totals import ListTotals, count_list
from ingest.store.read.pages.listing_pages import find_ids
from ingest.store.read.pages.listing_ranges import ListingFilter, OtherOrder, Selection
from ingest.store.read.pages.selections import search, select_rows
from ingest.store.read.pages.text_search import match_text
from ingest.store.schema.listing import ALL_LISTS, INCOMPLETE, RECEIVED, ListingKind

Condition = ColumnElement[bool]
Orders = Mapping[str, ColumnElement[Any]]

_message, _member = schema.message.c, schema.member.c
_patch, _cover, _series = schema.patch.c, schema.cover.c, schema.series.c

# The orders of patches in the API, and on the page of a list: see `listing_pages`.
PATCH_ORDERS = ("id", "name", "date", "project", "submitter", "state", "archived")
PATCH_PAGE_ORDERS = ("date", "name", "state_and_date", "submitter_name", "delegate_name")
COVER_ORDERS = ("id", "name", "date", "submitter")
SERIES_ORDERS = ("id", "name", "date", "submitter", "received_all")
COMMENT_ORDERS = CHECK_ORDERS = ("id", "date")
DIRECTORY_ORDERS = ("id", "name", "email")

# It is after every name, in the order of code points.
_LAST_NAME = "\U0010ffff"


def find_patch_ids(
    connection: Connection, filters: PatchFilter, page: Page, *, states: Sequence[str] = ()
) -> list[int]:
    """Return the ids of a page of patches, and one more where there is a next page.

    `states` are the states in their order, for the orders by state.
    """
    listing_filter = _filter_patches(connection, filters)
    by_name = OtherOrder(schema.name_order(_patch.name), _patch.message_id, "ix_patch_name")
    order = by_name if page.field == "name" else None
    return find_ids(connection, ListingKind.PATCH, listing_filter, page, order=order, states=states)


def find_cover_ids(connection: Connection, filters: MessageFilter, page: Page) -> list[int]:
    """Return the ids of a page of covers, and one more where there is a next page."""
    listing_filter = _filter_covers(connection, filters)
    by_name = OtherOrder(schema.name_order(_cover.name), _cover.message_id, "ix_cover_name")
    order = by_name if page.field == "name" else None
    return find_ids(connection, ListingKind.COVER, listing_filter, page, order=order)


def find_series_ids(connection: Connection, filters: SeriesFilter, page: Page) -> list[int]:
    """Return the ids of a page of series, and one more where there is a next page."""
    listing_filter = _filter_series(connection, filters)
    if page.field == "received_all":
        page = replace(page, field="state")
    by_name = OtherOrder(schema.name_order(_series.name), _series.id, "ix_series_name")
    order = by_name if page.field == "name" else None
    states = (INCOMPLETE, RECEIVED)
    return find_ids(
        connection, ListingKind.SERIES, listing_filter, page, order=order, states=states
    )


def count_patch_rows(
    connection: Connection, filters: PatchFilter, totals: ListTotals
) -> int | None:
    """Return how many patches a list has, None where that is unknown."""
    listing_filter = _filter_patches(connection, filters)
    return count_list(connection, ListingKind.PATCH, listing_filter, totals)


def count_cover_rows(
    connection: Connection, filters: MessageFilter, totals: ListTotals
) -> int | None:
    """Return how many covers a list has, None where that is unknown."""
    listing_filter = _filter_covers(connection, filters)
    return count_list(connection, ListingKind.COVER, listing_filter, totals)


def count_series_rows(
    connection: Connection, filters: SeriesFilter, totals: ListTotals
) -> int | None:
    """Return how many series a list has, None where that is unknown."""
    listing_filter = _filter_series(connection, filters)
    return count_list(connection, ListingKind.SERIES, listing_filter, totals)


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


def _filter_patches(connection: Connection, filters: PatchFilter) -> ListingFilter:
    selections = _message_selections(connection, filters, ListingKind.PATCH)
    if filters.hashes is not None:
        selections.append(select_rows(_patch.message_id, _patch.hash.in_(filters.hashes)))
    if filters.is_unassigned:
        selections.append(select_rows(_patch.message_id, _patch.delegate_id.is_(None)))
    delegates = filters.delegates
    return replace(
        _listing_filter(connection, filters, selections),
        states=filters.states,
        archived=filters.archived,
        delegates=None if delegates is None else find_account_ids(connection, delegates),
    )


def _filter_covers(connection: Connection, filters: MessageFilter) -> ListingFilter:
    selections = _message_selections(connection, filters, ListingKind.COVER)
    return _listing_filter(connection, filters, selections)


def _filter_series(connection: Connection, filters: SeriesFilter) -> ListingFilter:
    selections = search(connection, ListingKind.SERIES, filters.text)
    if filters.metadata is not None:
        noted = schema.series_metadata.c
        wanted = {noted.key: filters.metadata.key, noted.value: filters.metadata.value}
        conditions = [column == text for column, text in wanted.items() if text is not None]
        selections.append(select_rows(noted.series_id, and_(*conditions)))
    return _listing_filter(connection, filters, selections)


def _listing_filter(
    connection: Connection, filters: MessageFilter | SeriesFilter, selections: Sequence[Selection]
) -> ListingFilter:
    """Return what the filters of all lists are in the read model."""
    people = filters.submitters
    return ListingFilter(
        list_ids=(ALL_LISTS,) if filters.list_ids is None else sorted(set(filters.list_ids)),
        people=None if people is None else sorted(set(find_person_ids(connection, people))),
        since=filters.since,
        before=filters.before,
        selections=selections,
    )


def _message_selections(
    connection: Connection, filters: MessageFilter, kind: ListingKind
) -> list[Selection]:
    """Return the conditions on patches or covers that are found by other tables."""
    selections = search(connection, kind, filters.text)
    if filters.series_ids is not None:
        selections.append(
            select_rows(_member.message_id, _member.series_id.in_(filters.series_ids))
        )
    if filters.msgids is not None:
        aliased = resolve_aliases(connection, filters.msgids).values()
        selections.append(select_rows(_message.id, _message.msgid.in_({*filters.msgids, *aliased})))
    return selections


def _find_by_name_or_email(
    connection: Connection, table: Table, text: str | None, page: Page
) -> list[int]:
    columns = table.c
    conditions: list[Condition] = []
    if text is not None:
        is_in_name = columns.name.icontains(text, autoescape=True)
        conditions.append(or_(is_in_name, columns.email.icontains(text, autoescape=True)))
        matches = match_text(connection, table, text)
        if matches is not None:
            conditions.append(columns.id.in_(matches))
    # As in Patchwork, who has no name comes after the others.
    name = case((columns.name == "", _LAST_NAME), else_=columns.name)
    orders: Orders = {"id": columns.id, "name": name, "email": columns.email}
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
