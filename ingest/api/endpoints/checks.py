"""Checks: the results that CI systems report for patches."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.rights import authenticate_writer, writable_patch
from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_check_filter
from ingest.api.lookup import redirect_message
from ingest.api.params import ApiError, is_number, not_found
from ingest.api.records import references
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_CHECK_CONTEXT, MAX_CHECK_DESCRIPTION, MAX_CHECK_URL
from ingest.api.rest.request_body import RequestBody, parse_body, require_storable
from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.checks import CHECK_STATES, Check, add_check, read_checks
from ingest.store.read.pages.page_queries import CHECK_ORDERS, find_check_ids, read_outcome
from ingest.store.site.numbers import NumberKind

# What Patchwork calls a slug. The slash is in names of kernel.org's CI: `netdev/build_32bit`.
_CONTEXT = re.compile(rf"[\w/-]{{1,{MAX_CHECK_CONTEXT}}}", re.ASCII)

# The fields of a check, as OPTIONS describes them.
ACTIONS: dict[str, Any] = {
    "id": {"type": "integer", "required": False, "read_only": True, "label": "ID"},
    "url": {"type": "field", "required": False, "read_only": True, "label": "Url"},
    "user": {"type": "field", "required": False, "read_only": False, "label": "User"},
    "date": {"type": "datetime", "required": False, "read_only": True, "label": "Date"},
    "state": {
        "type": "choice",
        "required": False,
        "read_only": False,
        "label": "State",
        "help_text": "The state of the check.",
        "choices": [
            {"value": number, "display_name": state} for number, state in enumerate(CHECK_STATES)
        ],
    },
    "target_url": {
        "type": "url",
        "required": False,
        "read_only": False,
        "label": "Target url",
        "help_text": (
            "The target URL to associate with this check. This should be specific to the patch."
        ),
        "max_length": MAX_CHECK_URL,
    },
    "context": {
        "type": "slug",
        "required": False,
        "read_only": False,
        "label": "Context",
        "help_text": "A label to discern check from checks of other testing systems.",
        "max_length": MAX_CHECK_CONTEXT,
    },
    "description": {
        "type": "string",
        "required": False,
        "read_only": False,
        "label": "Description",
        "help_text": "A brief description of the check.",
    },
}


def list_patch_checks(http_request: Request) -> Response:
    """Return a page of the checks of a patch."""
    request = parse_request(http_request)
    page = request.page(CHECK_ORDERS)
    patch_id = request.message_row(NumberKind.PATCH)
    with request.read() as connection:
        if read_outcome(connection, patch_id) is not Outcome.PATCH:
            return redirect_message(
                connection,
                request,
                Outcome.PATCH,
                lambda id_: request.urls.url("patches", id_, "checks"),
            )
        filters = make_check_filter(request.params)
        ids = find_check_ids(connection, patch_id, filters, page)
        checks = read_checks(connection, ids[: page.size])
        accounts = read_accounts(connection, {check.account_id for check in checks.values()})
        records = [
            references.check_json(checks[id_], accounts.get(checks[id_].account_id), request.urls)
            for id_ in ids[: page.size]
            if id_ in checks
        ]
        return request.respond_with_short_list(
            records, ids, page, lambda whole: find_check_ids(connection, patch_id, filters, whole)
        )


def get_patch_check(http_request: Request) -> Response:
    """Return one check."""
    request = parse_request(http_request)
    number = request.path_number("check_id")
    with request.read() as connection:
        check = read_checks(connection, [number]).get(number)
        if check is None or check.message_id != request.message_row(NumberKind.PATCH):
            raise not_found("Check")
        accounts = read_accounts(connection, [check.account_id])
    return JsonResponse(references.check_json(check, accounts.get(check.account_id), request.urls))


def add_patch_check(http_request: Request, raw: bytes) -> Response:
    """Add a check to a patch."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    with request.write() as connection:
        patch = writable_patch(connection, request, account)
        check_id = add_check(connection, patch.id, _parse_check(body, request, patch.id, account))
        check = read_checks(connection, [check_id])[check_id]
        record = references.check_json(check, account, request.urls)
        return JsonResponse(record, status_code=201, headers={"Location": record["url"]})


def _parse_check(
    body: RequestBody, request: ApiRequest, message_id: int, account: Account
) -> Check:
    context = body.get("context", "default")
    if not isinstance(context, str) or not _CONTEXT.fullmatch(context):
        message = f"This must be at most {MAX_CHECK_CONTEXT} letters, digits and characters of _-/."
        raise ApiError(400, {"context": [message]})
    url = _parse_text("target_url", body.get("target_url"), MAX_CHECK_URL)
    if url and not _is_web_url(url):
        raise ApiError(400, {"target_url": [f"{url!r} is not an http or https URL."]})
    return Check(
        id=0,
        message_id=message_id,
        account_id=account.id,
        date=request.context.now(),
        state=_parse_state(body),
        context=context,
        target_url=url,
        description=_parse_text("description", body.get("description"), MAX_CHECK_DESCRIPTION),
    )


def _parse_state(body: RequestBody) -> str:
    """Return the state of a check, which a client names or, as Patchwork allows, numbers."""
    if "state" not in body:
        raise ApiError(400, {"state": ["A check must have a state."]})
    value = body["state"]
    state = str(value).lower() if isinstance(value, str | int) else ""
    if is_number(state) and int(state) < len(CHECK_STATES):
        state = CHECK_STATES[int(state)]
    if state not in CHECK_STATES or isinstance(value, bool):
        raise ApiError(400, {"state": [f"{value!r} is not one of {', '.join(CHECK_STATES)}."]})
    return state


def _is_web_url(value: str) -> bool:
    """Return whether a URL has the scheme http or https. Pages link to it."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _parse_text(name: str, value: Any, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise ApiError(400, {name: [f"This must be text of at most {limit} characters."]})
    return require_storable(name, value)
