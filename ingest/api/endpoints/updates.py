"""Updates of patches: state, archived, commit, delegate and related patches.

Nothing is written unless every field of the body is valid.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.messages import message_detail
from ingest.api.lookup import find_by_number
from ingest.api.params import ApiError, is_number, not_found, parse_flag, slug
from ingest.api.responses import JsonResponse
from ingest.api.rest.request_body import (
    RequestBody,
    authenticate_writer,
    parse_body,
    require_storable,
    writable_patch,
)
from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account
from ingest.store.activity.overrides import UNSET, Override, lock_related_patches, set_override
from ingest.store.read import messages
from ingest.store.read.directory import find_account_named, has_account
from ingest.store.read.messages import MessageRow
from ingest.store.read.pages.page_queries import find_existing_patches
from ingest.store.schema import storable

_MAX_RELATED = 250
_COMMIT = re.compile(r"[^\s\x00-\x1f]{1,255}")


# The fields that PUT must have, as in Patchwork.
_REQUIRED = ("state", "delegate")


def update_patch(http_request: Request, raw: bytes) -> Response:
    """Change the fields of a patch that the body names."""
    return _change_patch(http_request, raw, required=())


def replace_patch(http_request: Request, raw: bytes) -> Response:
    """Change a patch like `update_patch`, if the body has all fields that must be there."""
    return _change_patch(http_request, raw, required=_REQUIRED)


def _change_patch(http_request: Request, raw: bytes, *, required: Collection[str]) -> Response:
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    missing = [name for name in required if name not in body]
    if missing:
        raise ApiError(400, {name: ["This field is required."] for name in missing})
    with request.write() as connection:
        patch = writable_patch(connection, request, account)
        override = _parse_override(connection, body, request, patch, account)
        now = request.context.now()
        if not set_override(connection, patch.id, override, account_id=account.id, now=now):
            raise not_found()
        updated = find_by_number(connection, patch.id, Outcome.PATCH)
        assert updated is not None, "its thread is locked"
        return JsonResponse(message_detail(connection, updated, request))


def _parse_override(
    connection: Connection,
    body: RequestBody,
    request: ApiRequest,
    patch: MessageRow,
    account: Account,
) -> Override:
    """Return the override in a body.

    Other fields are ignored, as Patchwork does: clients send back whole records.
    """
    return Override(
        state=_parse_state(body["state"], request) if "state" in body else UNSET,
        archived=_parse_archived(body["archived"]) if "archived" in body else UNSET,
        commit_ref=_parse_commit(body["commit_ref"]) if "commit_ref" in body else UNSET,
        delegate_id=_parse_delegate(connection, body["delegate"]) if "delegate" in body else UNSET,
        related=_parse_related(connection, body["related"], patch, account)
        if "related" in body
        else UNSET,
    )


def _parse_state(value: Any, request: ApiRequest) -> str:
    state = slug(value) if isinstance(value, str) else None
    if state not in request.settings.states:
        allowed = ", ".join(request.settings.states)
        raise ApiError(400, {"state": [f"Invalid state {value!r}. Allowed are: {allowed}."]})
    return state


def _parse_archived(value: Any) -> bool:
    return value if isinstance(value, bool) else parse_flag("archived", str(value))


def _parse_commit(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        message = "This must be at most 255 characters without spaces."
        raise ApiError(400, {"commit_ref": [message]})
    return require_storable("commit_ref", value)


def _parse_delegate(connection: Connection, value: Any) -> int | None:
    """Return the account that a delegate names: by number, as git-pw sends it, or by name."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if value is None or value == "":
        return None
    text = str(value)
    account_id: int | None
    if is_number(text):
        account_id = int(text) if has_account(connection, int(text)) else None
    else:
        account_id = find_account_named(connection, storable(text))
    if account_id is None or isinstance(value, bool):
        raise ApiError(400, {"delegate": [f"There is no user {value!r}."]})
    return account_id


def _parse_related(
    connection: Connection, value: Any, patch: MessageRow, account: Account
) -> tuple[int, ...]:
    """Return the patches that a patch is to be related to.

    A relation has both directions: relating a patch to another changes both, and all patches that
    these are related to already. The account must be allowed to write to each of them.
    """
    values = [] if value is None else value
    if isinstance(values, list):
        values = [item.get("id") if isinstance(item, Mapping) else item for item in values]
    if (
        not isinstance(values, list)
        or len(values) > _MAX_RELATED
        or any(isinstance(item, bool) or not is_number(str(item)) for item in values if item != "")
    ):
        raise ApiError(400, {"related": ["This must be a list of patch numbers."]})
    related = tuple(sorted({int(item) for item in values if item != ""} - {patch.id}))
    existing = find_existing_patches(connection, related)
    if missing := [number for number in related if number not in existing]:
        raise ApiError(400, {"related": [f"There is no patch {missing[0]}."]})
    touched = lock_related_patches(connection, patch.id, related)
    lists = messages.read_list_names(connection, touched)
    for number in sorted(touched):
        if not account.may_write(lists.get(number, ())):
            message = f"{account.name} may not write to the project of patch {number}."
            raise ApiError(403, {"detail": message})
    return related
