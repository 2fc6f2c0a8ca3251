"""What is written: a patch's state and the like, and checks, by those who have a token.

The body is JSON, or a form (git-pw and b4 send one, with `True` for a flag and text for numbers).
Nothing is written unless all of it makes sense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response

from ingest.api import serializers
from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.read import find_record, message_detail
from ingest.api.params import ApiError, is_number, not_found, parse_flag, slug, text_fields
from ingest.api.responses import JsonResponse
from ingest.store import schema
from ingest.store.activity.accounts import Account
from ingest.store.activity.checks import CHECK_STATES, Check, add_check, read_checks
from ingest.store.activity.overrides import UNSET, Override, set_override, touched_by_relating
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.schema import storable
from ingest.store.write import redirects

MAX_REQUEST_BODY = 65_536
_MAX_TEXT = 1_000  # of a description or a URL
_MAX_RELATED = 250
_CONTEXT = re.compile(r"[\w.:/+-]{1,255}", re.ASCII)
_COMMIT = re.compile(r"[^\s\x00-\x1f]{1,255}")

RequestBody = Mapping[str, Any]


def update_patch(request: Request, raw: bytes) -> Response:
    """PUT and PATCH: what is not named stays as it is."""
    one = parse_request(request)
    account = _writer(one)
    body = _body(request, raw)
    with one.write() as connection:
        row = _patch(connection, one, account)
        wanted = _change(connection, body, one, row, account)
        if not set_override(connection, row.id, wanted, account_id=account.id):
            raise not_found()
        row = _reread(connection, row.id)
        return JsonResponse(message_detail(connection, row, one))


def add_patch_check(request: Request, raw: bytes) -> Response:
    one = parse_request(request)
    account = _writer(one)
    body = _body(request, raw)
    with one.write() as connection:
        row = _patch(connection, one, account)
        made = add_check(connection, row.id, _check(body, one, row.id, account))
        stored = read_checks(connection, [made])[made]
        return JsonResponse(serializers.check_json(stored, account, one.site), status_code=201)


def _writer(one: ApiRequest) -> Account:
    """Whose token it is; found without the lock of who writes, so that strangers hold up nobody."""
    with one.read() as connection:
        return one.known(connection)


def _patch(connection: Connection, one: ApiRequest, account: Account) -> MessageRow:
    """The patch that is spoken of; one that is gone is what has taken its place."""
    number = one.number()
    row = find_record(connection, number, "patch")
    if (
        row is None
        and (to := redirects.resolve_redirect(connection, "message", number)) is not None
    ):
        row = find_record(connection, to, "patch")
    if row is None:
        raise not_found()
    if not account.may_write([each.list_id for each in row.lists]):
        raise ApiError(403, {"detail": f"{account.name} may not write to this project."})
    return row


def _reread(connection: Connection, number: int) -> MessageRow:
    row = find_record(connection, number, "patch")
    assert row is not None, "its thread is locked"
    return row


# --- bodies ----------------------------------------------------------------------------------


def _body(request: Request, raw: bytes) -> RequestBody:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", ""):
        try:
            found = json.loads(raw or b"{}")
        except (ValueError, RecursionError):
            raise ApiError(400, {"detail": "The body is not JSON."}) from None
        if not isinstance(found, dict):
            raise ApiError(400, {"detail": "The body is not an object."})
        return found
    if kind == "application/x-www-form-urlencoded":
        pairs = text_fields(raw, max_fields=1_000)
        form: dict[str, Any] = {}
        for name, value in pairs:
            if name == "related":
                form.setdefault(name, []).append(value)
            else:
                form[name] = value
        return form
    raise ApiError(415, {"detail": f"Unsupported media type {kind!r} in request."})


def _change(
    connection: Connection, body: RequestBody, one: ApiRequest, row: MessageRow, account: Account
) -> Override:
    """Fields that are not ours to change are passed over, as Patchwork does: clients send back
    whole records.
    """
    return Override(
        state=_state(body["state"], one) if "state" in body else UNSET,
        archived=_flag("archived", body["archived"]) if "archived" in body else UNSET,
        commit_ref=_commit(body["commit_ref"]) if "commit_ref" in body else UNSET,
        delegate_id=_delegate(connection, body["delegate"]) if "delegate" in body else UNSET,
        related=_related(connection, body["related"], row, account) if "related" in body else UNSET,
    )


def _state(value: Any, one: ApiRequest) -> str:
    said = slug(value) if isinstance(value, str) else None
    if said not in one.settings.states:
        known = ", ".join(one.settings.states)
        raise ApiError(400, {"state": [f"Invalid state {value!r}. Known are: {known}."]})
    return said


def _flag(name: str, value: Any) -> bool:
    return value if isinstance(value, bool) else parse_flag(name, str(value))


def _commit(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise ApiError(400, {"commit_ref": ["This must be at most 255 letters without spaces."]})
    return _storable("commit_ref", value)


def _delegate(connection: Connection, value: Any) -> int | None:
    """By number, as git-pw sends it, or by name."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if value is None or value == "":
        return None
    account = schema.account.c
    text = str(value)
    same = account.id == int(text) if is_number(text) else account.name == storable(text)
    found = connection.execute(select(account.id).where(same)).scalar_one_or_none()
    if found is None or isinstance(value, bool):
        raise ApiError(400, {"delegate": [f"There is no user {value!r}."]})
    return int(found)


def _related(
    connection: Connection, value: Any, row: MessageRow, account: Account
) -> tuple[int, ...]:
    """A patch is related in both directions: who relates one to another changes both, and all
    that these are related to already, and must be allowed to write to each.
    """
    said = [] if value is None else value
    if isinstance(said, list):
        said = [item.get("id") if isinstance(item, Mapping) else item for item in said]
    if (
        not isinstance(said, list)
        or len(said) > _MAX_RELATED
        or any(isinstance(item, bool) or not is_number(str(item)) for item in said if item != "")
    ):
        raise ApiError(400, {"related": ["This must be a list of patches' numbers."]})
    wanted = tuple(sorted({int(item) for item in said if item != ""} - {row.id}))
    patch = schema.patch.c.message_id
    known = set(connection.execute(select(patch).where(patch.in_(wanted))).scalars())
    if unknown := [item for item in wanted if item not in known]:
        raise ApiError(400, {"related": [f"There is no patch {unknown[0]}."]})
    touched = touched_by_relating(connection, row.id, wanted)
    lists = messages.list_names_of(connection, touched)
    for number in sorted(touched):
        if not account.may_write(lists.get(number, ())):
            said = f"{account.name} may not write to the project of patch {number}."
            raise ApiError(403, {"detail": said})
    return wanted


def _check(body: RequestBody, one: ApiRequest, message_id: int, account: Account) -> Check:
    state = body.get("state", "pending")
    if not isinstance(state, str) or state.lower() not in CHECK_STATES:
        raise ApiError(400, {"state": [f"{state!r} is none of {', '.join(CHECK_STATES)}."]})
    context = body.get("context", "default")
    if not isinstance(context, str) or not _CONTEXT.fullmatch(context):
        raise ApiError(
            400, {"context": ["This must be up to 255 letters, digits, and any of _-.:/+."]}
        )
    url = _short("target_url", body.get("target_url"))
    if url and not _is_url(url):
        raise ApiError(400, {"target_url": [f"{url!r} is no URL of http or https."]})
    return Check(
        id=0,
        message_id=message_id,
        account_id=account.id,
        date=one.context.now(),
        state=state.lower(),
        context=context,
        target_url=url,
        description=_short("description", body.get("description")),
    )


def _is_url(value: str) -> bool:
    """Pages link to it: no other scheme may get there."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _short(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ApiError(400, {name: [f"This must be text of at most {_MAX_TEXT} letters."]})
    return _storable(name, value)


def _storable(name: str, value: str) -> str:
    if storable(value) != value:
        raise ApiError(400, {name: ["This must be text without NUL and lone surrogates."]})
    return value
