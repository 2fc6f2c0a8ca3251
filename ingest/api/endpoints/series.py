"""Series: lists and records."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_series_filter
from ingest.api.lookup import redirect_to_successor
from ingest.api.records import serializers
from ingest.api.records.prefetch import Prefetched
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.store.read.dependencies import SeriesDependencies, read_series_dependencies
from ingest.store.read.pages.page_queries import SERIES_ORDERS, count_series_rows, find_series_ids
from ingest.store.read.series import SeriesRow, read_members, read_series
from ingest.store.read.summaries import read_accepted_times, read_summaries


def list_series(http_request: Request) -> Response:
    """Return a page of series."""
    request = parse_request(http_request)
    page = request.page(SERIES_ORDERS)
    with request.read() as connection:
        filters = make_series_filter(connection, request.params, request.config)
        ids = find_series_ids(connection, filters, page)
        rows = {row.id: row for row in read_series(connection, ids[: page.size])}
        ordered = [rows[id_] for id_ in ids[: page.size] if id_ in rows]
        records = _series_json(connection, ordered, request)
        has_next = len(ids) > page.size
        totals = request.context.totals
        count = count_series_rows(connection, filters, totals) if has_next else None
    return request.respond_with_page(records, ids, page, count=count)


def get_series(http_request: Request) -> Response:
    """Return one series."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        rows = read_series(connection, [number])
        if not rows:
            return redirect_to_successor(
                connection, "series", number, lambda id_: request.urls.url("series", id_)
            )
        return JsonResponse(_series_json(connection, rows, request)[0])


def _series_json(
    connection: Connection, rows: Sequence[SeriesRow], request: ApiRequest
) -> list[JsonObject]:
    patch_ids = read_members(connection, [row.id for row in rows])
    message_ids = {id_ for ids in patch_ids.values() for id_ in ids}
    message_ids |= {row.cover_id for row in rows if row.cover_id is not None}
    summaries = read_summaries(connection, message_ids)
    undated = [summary.mail_id for summary in summaries.values() if not summary.date]
    prefetched = Prefetched(accepted_times=read_accepted_times(connection, undated))
    related = {}
    if request.urls.since((1, 4)):
        related = read_series_dependencies(connection, [row.id for row in rows])
    records = []
    for row in rows:
        member_ids = [row.cover_id, *patch_ids.get(row.id, ())]
        members = [summaries[id_] for id_ in member_ids if id_ is not None and id_ in summaries]
        series_related = related.get(row.id, SeriesDependencies())
        records.append(
            serializers.series_json(row, members, series_related, prefetched, request.urls)
        )
    return records
