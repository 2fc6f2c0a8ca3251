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

from ingest.api.changes.bundles import existing_patches
from ingest.api.changes.fields import flag_field, number_fields, require_fields
from ingest.api.changes.rights import authenticate_writer, writable_patch
from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.messages import message_detail
from ingest.api.lookup import find_by_row
from ingest.api.params import ApiError, is_number, not_found
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_COMMIT_REF, MAX_RELATED_PATCHES
from ingest.api.rest.request_body import RequestBody, parse_body, require_storable
from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.overrides import (
    UNSET,
    Override,
    RelationConflictError,
    lock_related_patches,
    set_override,
)
from ingest.store.read import messages
from ingest.store.read.directory import find_account_named
from ingest.store.read.messages import MessageRow
from ingest.store.schema import storable

_COMMIT = re.compile(rf"[^\s\x00-\x1f]{{1,{MAX_COMMIT_REF}}}")


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
    with request.write() as connection:
        patch = writable_patch(connection, request, account)
        require_fields(body, required)
        override = _parse_override(connection, body, request, patch, account)
        now = request.context.now()
        try:
            is_set = set_override(connection, patch.id, override, account_id=account.id, now=now)
        except RelationConflictError as error:
            raise ApiError(409, {"detail": str(error)}) from None
        if not is_set:
            raise not_found("Patch")
        updated = find_by_row(connection, patch.id, Outcome.PATCH)
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
        archived=flag_field("archived", body["archived"]) if "archived" in body else UNSET,
        commit_ref=_parse_commit(body["commit_ref"]) if "commit_ref" in body else UNSET,
        delegate_id=_parse_delegate(connection, body["delegate"], patch)
        if "delegate" in body
        else UNSET,
        related=_parse_related(connection, body["related"], patch, request, account)
        if "related" in body
        else UNSET,
    )


def _parse_state(value: Any, request: ApiRequest) -> str:
    is_named = isinstance(value, str | int) and not isinstance(value, bool)
    state = request.site.find_state(str(value)) if is_named else None
    if value is None:
        raise ApiError(400, {"state": ["This field may not be null."]})
    if state is None:
        allowed = ", ".join(request.site.state_slugs)
        raise ApiError(400, {"state": [f"Invalid state {value!r}. Allowed are: {allowed}."]})
    return state


def _parse_commit(value: Any) -> str | None:
    if value is None or value == "":
        return None if value is None else ""
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        message = f"This must be at most {MAX_COMMIT_REF} characters without spaces."
        raise ApiError(400, {"commit_ref": [message]})
    return require_storable("commit_ref", value)


def _parse_delegate(connection: Connection, value: Any, patch: MessageRow) -> int | None:
    """Return the account that a delegate names: by number, as git-pw sends it, or by name.

    It must be a maintainer of the patch's list.
    """
    if isinstance(value, Mapping):
        value = value.get("id")
    if value is None or value == "":
        return None
    text = str(value)
    account_id: int | None = None
    if is_number(text):
        account_id = int(text)
    elif not isinstance(value, bool):
        account_id = find_account_named(connection, storable(text))
    account = read_accounts(connection, [account_id]).get(account_id) if account_id else None
    if account is None or isinstance(value, bool):
        message = f'Invalid pk "{storable(text)}" - object does not exist.'
        raise ApiError(400, {"delegate": [message]})
    if not account.maintains(list_.list_id for list_ in patch.lists):
        message = f"User {account.name!r} is not a maintainer of this project."
        raise ApiError(400, {"delegate": [message]})
    return account_id


def _parse_related(
    connection: Connection, value: Any, patch: MessageRow, request: ApiRequest, account: Account
) -> tuple[int, ...]:
    """Return the rows of the patches that a patch is to be related to.

    A relation has both directions: relating a patch to another changes both, and all patches that
    these are related to already. The account must be allowed to write to each of them.
    """
    numbers = number_fields("related", value, limit=MAX_RELATED_PATCHES)
    related = existing_patches(connection, request, "related", numbers)
    touched = lock_related_patches(connection, patch.id, related)
    lists = messages.read_list_names(connection, touched)
    if not all(account.may_write(lists.get(row, ())) for row in touched):
        message = "At least one patch is part of a project you are not maintaining."
        raise ApiError(403, {"detail": message})
    return tuple(sorted(related))
