"""Downloads: patches, covers and series as mail for git am, and patches as plain diffs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.bundles import find_bundle_by_path
from ingest.api.context import ApiRequest, parse_request
from ingest.api.lookup import (
    find_by_path,
    find_by_row,
    redirect_message,
    redirect_series,
)
from ingest.api.mbox import cover_mbox, file_name, patch_mbox, patch_raw, portions
from ingest.api.params import is_number, not_found
from ingest.api.responses import StreamedDownload, download_response, redirect_response
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, read_members, read_series
from ingest.store.site.list_records import is_list_variant
from ingest.store.site.numbers import NumberKind

_DIFF_TYPE = "text/x-patch"
_MBOX_TYPE = "text/plain"


def download_patch(http_request: Request) -> Response:
    """Return a patch, by its number."""
    request = parse_request(http_request)
    form = request.path_text("form")
    with request.read() as connection:
        row = find_by_row(connection, request.message_row(NumberKind.PATCH), Outcome.PATCH)
        if row is None:
            base = request.urls.base
            return redirect_message(
                connection, request, Outcome.PATCH, lambda id_: f"{base}/patch/{id_}/{form}/"
            )
        if is_redirected(row, request):
            page = request.urls.message_page("patch", row.lists, row.msgid)
            return redirect_response(f"{page.removeprefix(request.urls.base)}{form}/")
        return _patch_response(connection, row, form, request)


def download_cover(http_request: Request) -> Response:
    """Return a cover, by its number."""
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_row(connection, request.message_row(NumberKind.COVER), Outcome.COVER)
        if row is None:
            base = request.urls.base
            return redirect_message(
                connection, request, Outcome.COVER, lambda id_: f"{base}/cover/{id_}/mbox/"
            )
        if is_redirected(row, request):
            page = request.urls.message_page("cover", row.lists, row.msgid)
            return redirect_response(f"{page.removeprefix(request.urls.base)}mbox/")
        return _cover_response(connection, row)


def is_redirected(row: MessageRow, request: ApiRequest) -> bool:
    """Return whether a download by number redirects to that by Message-ID, as in Patchwork.

    A site that was not imported saves clients the second request.
    """
    is_named = not row.variant or is_list_variant(row.variant)
    return request.site.numbers.is_imported and is_named and bool(row.lists)


def download_patch_by_msgid(http_request: Request) -> Response:
    """Return a patch, by its Message-ID."""
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_path(connection, request, (Outcome.PATCH,))
        return _patch_response(connection, row, request.path_text("form"), request)


def download_cover_by_msgid(http_request: Request) -> Response:
    """Return a cover, by its Message-ID."""
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_by_path(connection, request, (Outcome.COVER,))
        return _cover_response(connection, row)


def download_series(http_request: Request) -> Response:
    """Return the patches of a series in order. A cover without patches cannot be applied."""
    request = parse_request(http_request)
    form = request.path_text("form")
    number = request.path_number()
    with request.read() as connection:
        rows = read_series(connection, [number])
        if not rows:
            base = request.urls.base
            return redirect_series(connection, request, lambda id_: f"{base}/series/{id_}/{form}/")
        series = rows[0]
        ids = read_members(connection, [series.id]).get(series.id, [])
        if not ids:
            raise not_found()
        return _download(connection, ids, _series_file_name(series), form, request)


def _download(
    connection: Connection,
    ids: Sequence[int],
    name: str,
    form: str,
    request: ApiRequest,
    *,
    suffix: str = ".patch",
) -> Response:
    """Return patches in the given order. Those of a large series are read as the client takes them.

    These are read by other connections: a slow client must not keep one.
    """
    parts = portions(connection, ids)
    is_raw = form == "raw"
    file, media_type = (f"{name}.diff", _DIFF_TYPE) if is_raw else (f"{name}{suffix}", _MBOX_TYPE)
    if len(parts) == 1:
        content = _write_patches(connection, parts[0], form)
        return download_response(content, file, media_type=media_type)

    def write_pieces() -> Iterator[bytes]:
        for part in parts:
            with request.read() as reading:
                content = _write_patches(reading, part, form)
            yield content

    return StreamedDownload(write_pieces(), file, media_type=media_type)


def _write_patches(connection: Connection, ids: Sequence[int], form: str) -> bytes:
    rows = messages.read_messages(connection, ids)
    return b"".join((patch_raw if form == "raw" else patch_mbox)(connection, rows))


def _series_file_name(series: SeriesRow) -> str:
    return file_name(series.name or f"series-{series.id}")


def _cover_response(connection: Connection, row: MessageRow) -> Response:
    return download_response(cover_mbox(connection, row), f"{file_name(row.name or '')}.mbox")


def _patch_response(
    connection: Connection, row: MessageRow, form: str, request: ApiRequest
) -> Response:
    ids = [row.id]
    # git-pw applies a patch with its predecessors in the series: `*`, or the number of the series.
    series = request.params.last("series") if form == "mbox" else None
    if series is not None and row.series_id is not None:
        if series != "*" and not (is_number(series) and int(series) == row.series_id):
            raise not_found()
        members = read_members(connection, [row.series_id]).get(row.series_id, [])
        ids = [*(members[: members.index(row.id)] if row.id in members else []), row.id]
    return _download(connection, ids, file_name(row.name or ""), form, request)


def download_bundle(http_request: Request) -> Response:
    """Return the patches of a bundle in its order, by its owner and name."""
    request = parse_request(http_request)
    with request.read() as connection:
        bundle = find_bundle_by_path(connection, request)
        name = re.sub(r"[^\w .-]", "-", bundle.name, flags=re.ASCII)
        return _download(
            connection,
            bundle.patches,
            f"bundle-{bundle.id}-{name}",
            "mbox",
            request,
            suffix=".mbox",
        )
