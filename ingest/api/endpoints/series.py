"""Series: lists and records."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_series_filter
from ingest.api.lookup import redirect_series
from ingest.api.records import serializers
from ingest.api.records.prefetch import Prefetched
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.store.read.dependencies import SeriesDependencies, read_series_dependencies
from ingest.store.read.pages.page_queries import SERIES_ORDERS, count_series_rows, find_series_ids
from ingest.store.read.revisions import read_chosen, read_later
from ingest.store.read.series import SeriesRow, read_members, read_series
from ingest.store.read.summaries import read_accepted_times, read_summaries
from ingest.store.site.series_metadata import read_metadata


def list_series(http_request: Request) -> Response:
    """Return a page of series."""
    request = parse_request(http_request)
    page = request.page(SERIES_ORDERS)
    with request.read() as connection:
        filters = make_series_filter(connection, request.params, request.site)
        ids = find_series_ids(connection, filters, page)
        rows = {row.id: row for row in read_series(connection, ids[: page.size])}
        ordered = [rows[id_] for id_ in ids[: page.size] if id_ in rows]
        records = series_records(connection, ordered, request)
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
            return redirect_series(connection, request, lambda id_: request.urls.url("series", id_))
        return JsonResponse(series_records(connection, rows, request)[0])


def series_records(
    connection: Connection, rows: Sequence[SeriesRow], request: ApiRequest
) -> list[JsonObject]:
    """Return the records of series, with a fixed number of queries."""
    patch_ids = read_members(connection, [row.id for row in rows])
    message_ids = {id_ for ids in patch_ids.values() for id_ in ids}
    message_ids |= {row.cover_id for row in rows if row.cover_id is not None}
    summaries = read_summaries(connection, message_ids)
    undated = [summary.mail_id for summary in summaries.values() if not summary.date]
    prefetched = Prefetched(accepted_times=read_accepted_times(connection, undated))
    related = {}
    if request.urls.since((1, 4)):
        related = read_series_dependencies(connection, [row.id for row in rows])
    hidden = {
        list_id
        for list_id, project in request.site.projects.items()
        if project.show_dependencies is False
    }
    records = []
    for row in rows:
        member_ids = [row.cover_id, *patch_ids.get(row.id, ())]
        members = [summaries[id_] for id_ in member_ids if id_ is not None and id_ in summaries]
        series_related = related.get(row.id, SeriesDependencies())
        record = serializers.series_json(row, members, series_related, prefetched, request.urls)
        if record["project"] is not None and record["project"]["id"] in hidden:
            record.pop("dependencies", None)
            record.pop("dependents", None)
        records.append(record)
    if request.urls.since((1, 4)):
        _add_own_fields(connection, records, request)
    return records


def _add_own_fields(
    connection: Connection, records: Sequence[JsonObject], request: ApiRequest
) -> None:
    """Add the fields that Patchwork's successor has: metadata, and the revisions before and after.

    On an imported site, a version of the API has only the metadata that were set.
    """
    urls = request.urls
    ids = [record["id"] for record in records]
    metadata = read_metadata(connection, ids)
    for record in records:
        own = metadata.get(record["id"], {})
        if own or not urls.is_imported:
            record["metadata"] = own
    if not urls.has_own_fields:
        return
    earlier, later = read_chosen(connection, ids), read_later(connection, ids)
    for record in records:
        following = later.get(record["id"])
        links = {
            "previous_series": earlier.get(record["id"]),
            "next_series": max(following) if following else None,
        }
        for name, series_id in links.items():
            if series_id is not None or not urls.is_imported:
                record[name] = urls.url("series", series_id) if series_id is not None else None
