"""Build events in the shape of Patchwork's API.

`id` is the event's number. Numbers rise without gaps in the order in which events become visible,
and dates rise with them (see `store.activity.events`). A client that polls therefore misses none,
whether it requests the events `since` the last date that it saw, or pages in the order of dates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ingest.api.records import references, serializers
from ingest.api.records.prefetch import Prefetched
from ingest.api.records.references import JsonObject
from ingest.api.urls import UrlBuilder
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.checks import Check, read_checks
from ingest.store.activity.events import Category
from ingest.store.read import messages
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.pages.event_rows import EventRow, read_events
from ingest.store.read.series import SeriesRow, read_series
from ingest.store.read.summaries import MessageSummary, read_accepted_times, read_summaries

# What an event has of a comment.
_COMMENT_FIELDS = ("id", "url", "web_url", "msgid", "list_archive_url", "date")


def event_payloads(
    connection: Connection, numbers: Sequence[int], urls: UrlBuilder
) -> list[JsonObject]:
    """Return the events with these numbers, in that order."""
    events = read_events(connection, numbers)
    subjects = _read_subjects(connection, events.values())
    return [_event_json(events[number], subjects, urls) for number in numbers if number in events]


@dataclass(frozen=True, slots=True)
class _Subjects:
    """The rows that the events of a page are about, by row number."""

    summaries: Mapping[int, MessageSummary]
    comments: Mapping[int, MessageRow]
    series: Mapping[int, SeriesRow]
    checks: Mapping[int, Check]
    accounts: Mapping[int, Account]
    prefetched: Prefetched


def _read_subjects(connection: Connection, events: Collection[EventRow]) -> _Subjects:
    related = {
        number for row in events for number in _numbers(row, Category.PATCH_RELATION_CHANGED)
    }
    message_ids = {row.message_id for row in events if row.message_id is not None}
    summaries = read_summaries(connection, message_ids | related)
    comment_ids = sorted({row.comment_id for row in events if row.comment_id})
    comments = {
        comment.id: comment
        for comment in messages.read_messages(connection, comment_ids, brief=True)
    }
    checks = read_checks(connection, {row.check_id for row in events if row.check_id})
    account_ids = {row.account_id for row in events if row.account_id}
    account_ids |= {number for row in events for number in _numbers(row, Category.PATCH_DELEGATED)}
    account_ids |= {check.account_id for check in checks.values()}
    series_ids = {row.series_id for row in events if row.series_id}
    undated = [summary.mail_id for summary in summaries.values() if summary.date is None]
    undated += [comment.mail_id for comment in comments.values() if comment.date is None]
    return _Subjects(
        summaries,
        comments,
        {series.id: series for series in read_series(connection, series_ids)},
        checks,
        read_accounts(connection, account_ids),
        Prefetched(accepted_times=read_accepted_times(connection, undated)),
    )


def _numbers(row: EventRow, category: Category) -> list[int]:
    """Return the row numbers in `previous` and `current` of an event of that category."""
    if row.category != category:
        return []
    values = (value for value in (row.previous, row.current) if value)
    return [int(number) for value in values for number in value.split(",")]


def _event_json(row: EventRow, subjects: _Subjects, urls: UrlBuilder) -> JsonObject:
    message = subjects.summaries.get(row.message_id or 0)
    lists = message.lists if message is not None else ()
    return urls.trim(
        "event",
        {
            "id": row.number,
            "category": row.category,
            "project": references.project_json(lists[0], urls) if lists else None,
            "date": row.date.isoformat(timespec="microseconds"),
            "actor": references.user_json(subjects.accounts.get(row.account_id or 0), urls),
            "payload": _payload(row, message, lists, subjects, urls),
        },
    )


def _payload(
    row: EventRow,
    message: MessageSummary | None,
    lists: tuple[ListRow, ...],
    subjects: _Subjects,
    urls: UrlBuilder,
) -> JsonObject:
    """Return the subject of an event. A row that no longer exists is null."""
    subject = (
        references.summary_json(message, subjects.prefetched, urls) if message is not None else None
    )
    series_row = subjects.series.get(row.series_id or 0)
    series = (
        references.series_summary_json(series_row, lists, urls) if series_row is not None else None
    )
    if series is not None and series["date"] is None and subject is not None:
        series["date"] = subject["date"]
    match Category(row.category):
        case Category.COVER_CREATED:
            return {"cover": subject}
        case Category.PATCH_CREATED:
            return {"patch": subject}
        case Category.SERIES_CREATED | Category.SERIES_COMPLETED:
            return {"series": series}
        case Category.PATCH_COMPLETED:
            return {"patch": subject, "series": series}
        case Category.COVER_COMMENT_CREATED:
            return {"cover": subject, "comment": _comment_json(row, "covers", subjects, urls)}
        case Category.PATCH_COMMENT_CREATED:
            return {"patch": subject, "comment": _comment_json(row, "patches", subjects, urls)}
        case Category.CHECK_CREATED:
            return {"patch": subject, "check": _check_json(row, subjects, urls)}
        case Category.PATCH_STATE_CHANGED:
            return {
                "patch": subject, "previous_state": row.previous, "current_state": row.current,
            }  # fmt: skip
        case Category.PATCH_DELEGATED:
            return {
                "patch": subject,
                "previous_delegate": _user_json(row.previous, subjects, urls),
                "current_delegate": _user_json(row.current, subjects, urls),
            }
        case Category.PATCH_RELATION_CHANGED:
            return {
                "patch": subject,
                "previous_relation": _relation_json(row.previous, subjects, urls),
                "current_relation": _relation_json(row.current, subjects, urls),
            }


def _comment_json(
    row: EventRow, parent_kind: str, subjects: _Subjects, urls: UrlBuilder
) -> JsonObject | None:
    comment = subjects.comments.get(row.comment_id or 0)
    if comment is None:
        return None
    record = serializers.comment_json(
        comment, subjects.prefetched, b"", urls, parent_kind=parent_kind
    )
    return {name: record[name] for name in _COMMENT_FIELDS if name in record}


def _check_json(row: EventRow, subjects: _Subjects, urls: UrlBuilder) -> JsonObject | None:
    check = subjects.checks.get(row.check_id or 0)
    if check is None:
        return None
    record = references.check_json(check, None, urls)
    return {name: value for name, value in record.items() if name not in ("user", "description")}


def _user_json(number: str | None, subjects: _Subjects, urls: UrlBuilder) -> JsonObject | None:
    return references.user_json(subjects.accounts.get(int(number)), urls) if number else None


def _relation_json(
    numbers: str | None, subjects: _Subjects, urls: UrlBuilder
) -> list[JsonObject] | None:
    if not numbers:
        return None
    summaries = (subjects.summaries.get(int(number)) for number in numbers.split(","))
    return [
        references.summary_json(summary, subjects.prefetched, urls)
        for summary in summaries
        if summary is not None
    ]
