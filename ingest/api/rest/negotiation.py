"""Choose the form of a response: JSON, or a page for browsers.

As in Patchwork: `?format=json` and `?format=api` take precedence over the header `Accept`, of which
the most specific media range counts, whatever its quality value.
"""

from __future__ import annotations

from enum import Enum

from starlette.requests import Request

from ingest.api.params import ApiError, not_found


class MediaType(Enum):
    """A form in which the API responds."""

    JSON = "application/json"
    HTML = "text/html"


_FORMATS = {"json": MediaType.JSON, "api": MediaType.HTML}


def choose_media_type(http_request: Request) -> MediaType:
    """Return the form that a client wants.

    Raises `ApiError`: 406 where it accepts neither, 404 for a format that does not exist.
    """
    name = http_request.query_params.get("format")
    if name:
        if name not in _FORMATS:
            raise not_found()
        return _FORMATS[name]
    accepted = {
        media_range.partition(";")[0].strip().lower()
        for media_range in http_request.headers.get("accept", "*/*").split(",")
    }
    for is_match in (_is_exact, _is_type, _is_any):
        for media_type in MediaType:
            if any(is_match(media_range, media_type) for media_range in accepted):
                return media_type
    raise ApiError(406, {"detail": "Could not satisfy the request Accept header."})


def _is_exact(media_range: str, media_type: MediaType) -> bool:
    return media_range == media_type.value


def _is_type(media_range: str, media_type: MediaType) -> bool:
    return media_range == f"{media_type.value.partition('/')[0]}/*"


def _is_any(media_range: str, _media_type: MediaType) -> bool:
    return media_range in ("*/*", "")
