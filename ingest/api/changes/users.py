"""Change the account of the client itself."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.fields import flag_field, text_field
from ingest.api.changes.rights import authenticate_writer, permission_denied
from ingest.api.context import parse_request
from ingest.api.endpoints.people import user_detail
from ingest.api.params import ApiError, is_number, not_found
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_USER_TEXT
from ingest.api.rest.request_body import RequestBody, parse_body
from ingest.store.activity.accounts import read_accounts, update_account

_FLAGS = ("send_email", "show_ids")
_MAX_ITEMS = 1_000


def update_user(http_request: Request, raw: bytes) -> Response:
    """Change the fields of an account that the body names: the own one, or as a superuser any."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    number = request.path_number()
    with request.write() as connection:
        changed = read_accounts(connection, [number]).get(number)
        if changed is None:
            raise not_found("User")
        if changed.id != account.id and not account.is_superuser:
            raise permission_denied()
        values: dict[str, Any] = {
            name: text_field(name, body[name], limit=limit)
            for name, limit in MAX_USER_TEXT.items()
            if name in body
        }
        if "settings" in body:
            values["settings"] = {**changed.settings, **_parse_settings(body["settings"])}
        update_account(connection, number, **values)
        changed = read_accounts(connection, [number])[number]
    return JsonResponse(user_detail(changed, request, account))


def _parse_settings(value: Any) -> RequestBody:
    if not isinstance(value, dict):
        raise ApiError(400, {"settings": ["Invalid data. Expected a dictionary."]})
    settings: dict[str, Any] = {
        name: flag_field(name, value[name]) for name in _FLAGS if name in value
    }
    if "items_per_page" in value:
        text = str(value["items_per_page"])
        if not is_number(text) or not 0 < int(text) <= _MAX_ITEMS:
            raise ApiError(400, {"settings": {"items_per_page": ["A valid integer is required."]}})
        settings["items_per_page"] = int(text)
    return settings
