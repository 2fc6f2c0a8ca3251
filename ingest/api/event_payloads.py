"""Events as Patchwork's API has them, and how a poller follows them.

`id` is the event's number: numbers rise without gaps in the order in which they become
visible, and dates with them (see `store.activity.events`), so that a poller misses nothing by asking
for what is `since` the last date that it saw, or by paging in the order of dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ingest.api import serializers
from ingest.api.params import ApiError, Page, QueryParams
from ingest.api.prefetch import Prefetched
from ingest.api.queries import accounts_condition, dated, lists_condition
from ingest.api.serializers import JsonObject
from ingest.api.urls import UrlBuilder
from ingest.store import schema
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.checks import Check, read_checks
from ingest.store.activity.events import Category
from ingest.store.read import messages
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.series import SeriesRow, series_by_id
from ingest.store.read.summaries import MessageSummary, read_accepted_times, read_summaries

ORDERS = ("date", "id")


def find_events(
    connection: Connection, asked: QueryParams, page: Page, site: UrlBuilder
) -> list[int]:
    """The numbers of a page's events, and one more where there is a next page."""
    event = schema.event.c
    conditions: list[Any] = [event.number.is_not(None)]
    if (lists := lists_condition(connection, asked, site.config)) is not None:
        posting = schema.posting.c
        posted = select(posting.mail_id).where(
            posting.message_id == event.message_id, posting.list_id.in_(lists)
        )
        conditions.append(posted.exists())
    if categories := asked.all("category"):
        for one in categories:
            if one not in set(Category):
                raise ApiError(400, {"category": [f"There is no category {one!r}."]})
        conditions.append(event.category.in_(categories))
    for name, column in (
        ("series", event.series_id),
        ("patch", event.message_id),
        ("cover", event.message_id),
    ):
        if (ids := asked.numbers(name)) is not None:
            conditions.append(column.in_(ids))
            if name != "series":
                conditions.append(event.category.not_in(("series-created", "series-completed")))
    if (actors := accounts_condition(connection, asked, "actor")) is not None:
        conditions.append(event.account_id.in_(actors))
    conditions += dated(asked, event.date)
    # Dates rise with numbers.
    order = event.number.desc() if page.down else event.number.asc()
    query = select(event.number).where(*conditions).order_by(order)
    return list(connection.execute(query.limit(page.size + 1).offset(page.start)).scalars())


def event_payloads(
    connection: Connection, numbers: Sequence[int], site: UrlBuilder
) -> list[JsonObject]:
    """The events with these numbers, in that order."""
    table = schema.event
    found = connection.execute(select(table).where(table.c.number.in_(numbers))).all()
    near = _near(connection, found)
    by_number = {row.number: _event(row, near, site) for row in found}
    return [by_number[one] for one in numbers if one in by_number]


@dataclass(frozen=True, slots=True)
class _Near:
    """What the events of a page are about, by row number."""

    summaries: Mapping[int, MessageSummary]
    comments: Mapping[int, MessageRow]
    series: Mapping[int, SeriesRow]
    checks: Mapping[int, Check]
    accounts: Mapping[int, Account]
    around: Prefetched


def _near(connection: Connection, rows: Sequence[Any]) -> _Near:
    related = {one for row in rows for one in _numbers(row, Category.PATCH_RELATION_CHANGED)}
    summaries = read_summaries(connection, {row.message_id for row in rows} | related)
    comments = {
        one.id: one
        for one in messages.read_messages(
            connection, sorted({row.comment_id for row in rows if row.comment_id}), brief=True
        )
    }
    delegates = {one for row in rows for one in _numbers(row, Category.PATCH_DELEGATED)}
    known_checks = read_checks(connection, {row.check_id for row in rows if row.check_id})
    people = {row.account_id for row in rows if row.account_id} | delegates
    people |= {one.account_id for one in known_checks.values()}
    series_ids = {row.series_id for row in rows if row.series_id}
    undated = [one.mail_id for one in summaries.values() if one.date is None]
    undated += [one.mail_id for one in comments.values() if one.date is None]
    return _Near(
        summaries,
        comments,
        {one.id: one for one in series_by_id(connection, series_ids)},
        known_checks,
        read_accounts(connection, people),
        Prefetched(came=read_accepted_times(connection, undated)),
    )


def _numbers(row: Any, category: Category) -> list[int]:
    """The row numbers in `previous` and `current` of an event of that category."""
    if row.category != category:
        return []
    return [int(one) for said in (row.previous, row.current) if said for one in said.split(",")]


def _event(row: Any, near: _Near, site: UrlBuilder) -> JsonObject:
    message = near.summaries.get(row.message_id)
    lists = message.lists if message is not None else ()
    return site.trim(
        "event",
        {
            "id": row.number,
            "category": row.category,
            "project": serializers.project_json(lists[0], site) if lists else None,
            "date": row.date.isoformat(timespec="microseconds"),
            "actor": serializers.user_json(near.accounts.get(row.account_id or 0), site),
            "payload": _payload(row, message, lists, near, site),
        },
    )


def _payload(
    row: Any,
    message: MessageSummary | None,
    lists: tuple[ListRow, ...],
    near: _Near,
    site: UrlBuilder,
) -> JsonObject:
    """What the event is about. A row that is gone since is null."""
    about = serializers.summary_json(message, near.around, site) if message is not None else None
    one = near.series.get(row.series_id or 0)
    series = serializers.series_summary_json(one, lists, site) if one is not None else None
    if series is not None and series["date"] is None and about is not None:
        series["date"] = about["date"]
    match Category(row.category):
        case Category.COVER_CREATED:
            return {"cover": about}
        case Category.PATCH_CREATED:
            return {"patch": about}
        case Category.SERIES_CREATED | Category.SERIES_COMPLETED:
            return {"series": series}
        case Category.PATCH_COMPLETED:
            return {"patch": about, "series": series}
        case Category.COVER_COMMENT_CREATED:
            return {"cover": about, "comment": _comment(row, "covers", near, site)}
        case Category.PATCH_COMMENT_CREATED:
            return {"patch": about, "comment": _comment(row, "patches", near, site)}
        case Category.CHECK_CREATED:
            check = near.checks.get(row.check_id or 0)
            by = near.accounts.get(check.account_id) if check is not None else None
            return {
                "patch": about,
                "check": serializers.check_json(check, by, site) if check is not None else None,
            }
        case Category.PATCH_STATE_CHANGED:
            return {
                "patch": about, "previous_state": row.previous, "current_state": row.current,
            }  # fmt: skip
        case Category.PATCH_DELEGATED:
            return {
                "patch": about,
                "previous_delegate": _user(row.previous, near, site),
                "current_delegate": _user(row.current, near, site),
            }
        case Category.PATCH_RELATION_CHANGED:
            return {
                "patch": about,
                "previous_relation": _relation(row.previous, near, site),
                "current_relation": _relation(row.current, near, site),
            }


def _comment(row: Any, parent_series: str, near: _Near, site: UrlBuilder) -> JsonObject | None:
    one = near.comments.get(row.comment_id or 0)
    if one is None:
        return None
    made = serializers.comment_json(one, near.around, b"", site, parent_series=parent_series)
    return {name: value for name, value in made.items() if name not in ("headers", "content")}


def _user(number: str | None, near: _Near, site: UrlBuilder) -> JsonObject | None:
    return serializers.user_json(near.accounts.get(int(number)), site) if number else None


def _relation(numbers: str | None, near: _Near, site: UrlBuilder) -> list[JsonObject] | None:
    if not numbers:
        return None
    named: Iterable[MessageSummary | None] = (
        near.summaries.get(int(one)) for one in numbers.split(",")
    )
    return [serializers.summary_json(one, near.around, site) for one in named if one is not None]
