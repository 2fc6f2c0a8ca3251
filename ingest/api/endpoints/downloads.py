"""Downloads: patches, covers and series as mail for git am, and patches as plain diffs."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.read import find_named, find_record, redirect_to_successor
from ingest.api.mbox import cover_mbox, file_name, patch_mbox, patch_raw
from ingest.api.params import is_number, not_found
from ingest.api.responses import download_response
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, read_members, series_by_id


def download_patch(request: Request) -> Response:
    one = parse_request(request)
    form = request.path_params["form"]
    with one.read() as connection:
        row = find_record(connection, one.number(), "patch")
        if row is None:
            base = one.site.base
            return redirect_to_successor(
                connection, "message", one.number(), lambda to: f"{base}/patch/{to}/{form}/"
            )
        return _patch(connection, row, form, one)


def download_cover(request: Request) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        row = find_record(connection, one.number(), "cover")
        if row is None:
            base = one.site.base
            return redirect_to_successor(
                connection, "message", one.number(), lambda to: f"{base}/cover/{to}/mbox/"
            )
    return download_response(cover_mbox(row), f"{file_name(row.name or '')}.patch")


def download_patch_by_msgid(request: Request) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        row = find_named(connection, request.path_params["msgid"], "patch")
        return _patch(connection, row, request.path_params["form"], one)


def download_cover_by_msgid(request: Request) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        row = find_named(connection, request.path_params["msgid"], "cover")
    return download_response(cover_mbox(row), f"{file_name(row.name or '')}.patch")


def download_series(request: Request) -> Response:
    """Its patches in order. A cover alone is nothing to apply."""
    one = parse_request(request)
    form = request.path_params["form"]
    with one.read() as connection:
        rows = series_by_id(connection, [one.number()])
        if not rows:
            base = one.site.base
            return redirect_to_successor(
                connection, "series", one.number(), lambda to: f"{base}/series/{to}/{form}/"
            )
        ids = read_members(connection, [rows[0].id]).get(rows[0].id, [])
        patches = list(messages.read_messages(connection, ids))
        if not patches:
            raise not_found()
        if form == "raw":
            text = "".join(patch_raw(each) for each in patches)
            return download_response(
                text, f"{_series_name(rows[0])}.diff", media_type="text/x-patch"
            )
        text = "".join(patch_mbox(connection, patches))
    return download_response(text, f"{_series_name(rows[0])}.patch")


def _series_name(row: SeriesRow) -> str:
    return file_name(row.name or f"series-{row.id}")


def _patch(connection: Connection, row: MessageRow, form: str, one: ApiRequest) -> Response:
    name = file_name(row.name or "")
    if form == "raw":
        return download_response(patch_raw(row), f"{name}.diff", media_type="text/x-patch")
    rows = [row]
    # git-pw applies a patch together with what comes before it in its series: `*`, or which.
    wanted = one.asked.last("series")
    if wanted is not None and row.series_id is not None:
        if wanted != "*" and not (is_number(wanted) and int(wanted) == row.series_id):
            raise not_found()
        ids = read_members(connection, [row.series_id]).get(row.series_id, [])
        before = ids[: ids.index(row.id)] if row.id in ids else []
        rows = [*messages.read_messages(connection, before), row]
    return download_response("".join(patch_mbox(connection, rows)), f"{name}.patch")
