"""Keep what clients note of a series: its metadata, which are texts by key."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.fields import text_field
from ingest.api.changes.rights import authenticate_writer, permission_denied
from ingest.api.context import parse_request
from ingest.api.endpoints.series import series_records
from ingest.api.lookup import find_series_successor
from ingest.api.params import ApiError
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_METADATA_KEY, MAX_METADATA_VALUE
from ingest.api.rest.request_body import RequestBody, parse_body
from ingest.store.locks import lock_threads
from ingest.store.read import messages
from ingest.store.read.series import read_members, read_series
from ingest.store.site.series_metadata import read_metadata, set_metadata

_MAX_KEYS = 100


def update_series(http_request: Request, raw: bytes) -> Response:
    """Set the metadata that a body names; null deletes one. Other fields are ignored."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    number = request.path_number()
    with request.write() as connection:
        rows = read_series(connection, [number])
        if not rows:
            number = find_series_successor(connection, number)
            rows = read_series(connection, [number])
        row = rows[0]
        members = read_members(connection, [number]).get(number, [])
        members += [row.cover_id] if row.cover_id is not None else []
        lists = messages.read_list_names(connection, members)
        if not account.may_write({name for names in lists.values() for name in names}):
            raise permission_denied()
        # A transaction that joins the series to another must not lose what is set.
        lock_threads(connection, [row.key])
        if "metadata" in body:
            values = _parse_metadata(body)
            known = read_metadata(connection, [number]).get(number, {})
            kept = {**known, **values}
            if sum(value is not None for value in kept.values()) > _MAX_KEYS:
                raise ApiError(400, {"metadata": [f"At most {_MAX_KEYS} keys are allowed."]})
            set_metadata(connection, number, values)
        (record,) = series_records(connection, read_series(connection, [number]), request)
    return JsonResponse(record)


def _parse_metadata(body: RequestBody) -> dict[str, str | None]:
    metadata: Any = body["metadata"]
    if not isinstance(metadata, dict):
        raise ApiError(400, {"metadata": ["Invalid data. Expected a dictionary."]})
    values: dict[str, str | None] = {}
    for key, value in metadata.items():
        name = text_field("metadata", key, limit=MAX_METADATA_KEY, blank=False)
        if value is not None:
            value = text_field("metadata", value, limit=MAX_METADATA_VALUE)
        values[name] = value
    return values
