"""Parse the bodies of requests that write.

The body is JSON or a form, of either type: git-pw and b4 send one, with `True` for a flag and text
for numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from starlette.requests import Request

from ingest.api.params import ApiError, text_fields
from ingest.store.schema import storable

MAX_REQUEST_BODY = 65_536  # bytes
_MAX_FIELDS = 1_000
_LISTS = frozenset({"related", "patches"})  # fields that a form repeats

RequestBody = Mapping[str, Any]


def parse_body(http_request: Request, raw: bytes) -> RequestBody:
    """Parse a body by its media type. Raises `ApiError` where it is invalid."""
    media_type = http_request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("application/json", ""):
        try:
            value = json.loads(raw or b"{}")
        except (ValueError, RecursionError):
            raise ApiError(400, {"detail": "The body is not JSON."}) from None
        if not isinstance(value, dict):
            message = f"Invalid data. Expected a dictionary, but got {type(value).__name__}."
            raise ApiError(400, {"detail": [message]})
        return value
    if media_type == "application/x-www-form-urlencoded":
        return _collect_fields(text_fields(raw, max_fields=_MAX_FIELDS))
    if media_type == "multipart/form-data":
        return _collect_fields(_multipart_fields(http_request.headers["content-type"], raw))
    raise ApiError(415, {"detail": f"Unsupported media type {media_type!r} in request."})


def _collect_fields(fields: Iterable[tuple[str, str]]) -> RequestBody:
    form: dict[str, Any] = {}
    for name, value in fields:
        if name in _LISTS:
            form.setdefault(name, []).append(value)
        else:
            form[name] = value
    return form


def _multipart_fields(content_type: str, raw: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form as multipart/form-data (RFC 7578), whose parts are MIME parts."""
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = message_from_bytes(header + raw, policy=HTTP)
    parts = list(message.iter_parts())
    if not message.is_multipart() or len(parts) > _MAX_FIELDS:
        raise ApiError(400, {"detail": "Multipart form parse error."})
    fields = []
    for part in parts:
        name = part.get_param("name", header="Content-Disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise ApiError(400, {"detail": "Multipart form parse error."})
        try:
            fields.append((name, content.decode()))
        except UnicodeDecodeError:
            raise ApiError(400, {name: ["This is not valid UTF-8."]}) from None
    return fields


def require_storable(name: str, value: str) -> str:
    """Return a text that the store can hold. Raises `ApiError` for any other."""
    if storable(value) != value:
        raise ApiError(400, {name: ["This must be text without NUL and lone surrogates."]})
    return value
