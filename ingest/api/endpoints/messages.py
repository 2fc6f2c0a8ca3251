"""Patches, covers and comments: lists and records, each with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_message_filter, make_patch_filter
from ingest.api.lookup import COMMENT_KINDS, KINDS, find_by_row, redirect_message
from ingest.api.params import not_found
from ingest.api.records import serializers
from ingest.api.records.prefetch import Prefetched, prefetch
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.api.urls import UrlBuilder
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.pages import page_queries
from ingest.store.read.pages.page_queries import COMMENT_ORDERS, COVER_ORDERS, PATCH_ORDERS

# The part of the path of each outcome.
_PATHS = {Outcome.PATCH: "patches", Outcome.COVER: "covers"}

Serializer = Callable[[MessageRow, Prefetched, UrlBuilder], JsonObject]


# --- patches and covers ----------------------------------------------------------------------


def list_patches(http_request: Request) -> Response:
    """Return a page of patches."""
    request = parse_request(http_request)
    page = request.page(PATCH_ORDERS)
    with request.read() as connection:
        filters = make_patch_filter(connection, request.params, request.site)
        states = request.site.state_slugs
        ids = page_queries.find_patch_ids(connection, filters, page, states=states)
        has_next = len(ids) > page.size
        totals = request.context.totals
        count = page_queries.count_patch_rows(connection, filters, totals) if has_next else None
        records = _message_records(
            connection, ids[: page.size], filters.list_ids, request, serializers.patch_json
        )
    return request.respond_with_page(records, ids, page, count=count)


def list_covers(http_request: Request) -> Response:
    """Return a page of covers."""
    request = parse_request(http_request)
    page = request.page(COVER_ORDERS)
    with request.read() as connection:
        filters = make_message_filter(connection, request.params, request.site)
        ids = page_queries.find_cover_ids(connection, filters, page)
        has_next = len(ids) > page.size
        totals = request.context.totals
        count = page_queries.count_cover_rows(connection, filters, totals) if has_next else None
        records = _message_records(
            connection, ids[: page.size], filters.list_ids, request, serializers.cover_json
        )
    return request.respond_with_page(records, ids, page, count=count)


def _message_records(
    connection: Connection,
    ids: Sequence[int],
    list_ids: Collection[int] | None,
    request: ApiRequest,
    serializer: Serializer,
) -> list[JsonObject]:
    """Return the records of a page. If it is limited to lists, messages are shown as theirs."""
    rows = list(messages.read_messages(connection, ids, brief=True))
    if list_ids:
        rows = [_with_lists_first(row, list_ids) for row in rows]
    prefetched = prefetch(connection, rows, date_all=True)
    return [serializer(row, prefetched, request.urls) for row in rows]


def _with_lists_first(row: MessageRow, list_ids: Collection[int]) -> MessageRow:
    """Return a message with these lists first: a record names only the first list."""
    lists = sorted(row.lists, key=lambda list_: list_.id not in list_ids)
    return replace(row, lists=tuple(lists))


def get_patch(http_request: Request) -> Response:
    """Return one patch."""
    return _get_message(http_request, Outcome.PATCH)


def get_cover(http_request: Request) -> Response:
    """Return one cover."""
    return _get_message(http_request, Outcome.COVER)


def _get_message(http_request: Request, outcome: Outcome) -> Response:
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_row(connection, request.message_row(KINDS[outcome]), outcome)
        if row is None:
            return redirect_message(
                connection, request, outcome, lambda id_: request.urls.url(_PATHS[outcome], id_)
            )
        return JsonResponse(message_detail(connection, row, request))


def message_detail(connection: Connection, row: MessageRow, request: ApiRequest) -> JsonObject:
    """Return the detail record of a message."""
    prefetched = prefetch(connection, [row], date_all=True, evidence=True)
    raw = messages.read_raw_mail(connection, row.mail_id)
    return serializers.message_detail_json(row, prefetched, raw, request.urls)


# --- comments --------------------------------------------------------------------------------


def list_patch_comments(http_request: Request) -> Response:
    """Return a page of the comments on a patch."""
    return _list_comments(http_request, Outcome.PATCH)


def list_cover_comments(http_request: Request) -> Response:
    """Return a page of the comments on a cover."""
    return _list_comments(http_request, Outcome.COVER)


def _list_comments(http_request: Request, parent_outcome: Outcome) -> Response:
    request = parse_request(http_request)
    page = request.page(COMMENT_ORDERS)
    parent_id = request.message_row(KINDS[parent_outcome])
    parent_kind = _PATHS[parent_outcome]
    with request.read() as connection:
        if page_queries.read_outcome(connection, parent_id) is not parent_outcome:
            return redirect_message(
                connection,
                request,
                parent_outcome,
                lambda id_: request.urls.url(parent_kind, id_, "comments"),
            )
        ids = page_queries.find_comment_ids(connection, parent_id, page)
        rows = list(messages.read_messages(connection, ids[: page.size]))
        prefetched = prefetch(connection, rows, date_all=True)
        raw = messages.read_raw_mails(connection, {row.mail_id for row in rows})
        records = [
            serializers.comment_json(
                row, prefetched, raw[row.mail_id], request.urls, parent_kind=parent_kind
            )
            for row in rows
        ]
        return request.respond_with_short_list(
            records,
            ids,
            page,
            lambda whole: page_queries.find_comment_ids(connection, parent_id, whole),
        )


def get_patch_comment(http_request: Request) -> Response:
    """Return one comment on a patch."""
    return _get_comment(http_request, Outcome.PATCH)


def get_cover_comment(http_request: Request) -> Response:
    """Return one comment on a cover."""
    return _get_comment(http_request, Outcome.COVER)


def _get_comment(http_request: Request, parent_outcome: Outcome) -> Response:
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_comment(connection, request, parent_outcome)
        return JsonResponse(comment_record(connection, row, request, parent_outcome))


def find_comment(
    connection: Connection, request: ApiRequest, parent_outcome: Outcome
) -> MessageRow:
    """Return the comment that the path names. Raises `ApiError` where there is none.

    One that applied to a patch in Patchwork may apply to a cover here, or the other way.
    """
    parent_id = request.message_row(KINDS[parent_outcome])
    row_ids = {request.message_row(kind, "comment_id") for kind in COMMENT_KINDS.values()}
    for row in messages.read_messages(connection, sorted(row_ids)):
        is_own = row.outcome is Outcome.COMMENT and row.parent_id == parent_id
        if is_own and page_queries.read_outcome(connection, parent_id) is parent_outcome:
            return row
    raise not_found()


def comment_record(
    connection: Connection, row: MessageRow, request: ApiRequest, parent_outcome: Outcome
) -> JsonObject:
    """Return the record of a comment on a patch or cover."""
    prefetched = prefetch(connection, [row], date_all=True)
    raw = messages.read_raw_mail(connection, row.mail_id)
    parent_kind = _PATHS[parent_outcome]
    return serializers.comment_json(row, prefetched, raw, request.urls, parent_kind=parent_kind)
