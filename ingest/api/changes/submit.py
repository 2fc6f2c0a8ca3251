"""Accept mail from a client with a token, as the daemon accepts it by LMTP.

The mail is committed and queued before the response; the daemon derives it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.rights import authenticate_writer, permission_denied
from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import ApiError
from ingest.api.responses import JsonResponse
from ingest.mail.defect import Defect
from ingest.mail.parse import parse_message
from ingest.model import BY_LIST_ID, Delivery
from ingest.sources.mbox import is_mail, is_mbox, split_mbox
from ingest.store.activity.accounts import Account
from ingest.store.inbox.queue import enqueue
from ingest.store.read.directory import read_all_lists

SOURCE = "api"
MAX_BODY = 64 * 1024 * 1024  # bytes
_MAX_MAILS = 1_000
_MEDIA_TYPES = ("message/rfc822", "application/mbox", "text/plain", "application/octet-stream", "")


@dataclass(frozen=True, slots=True)
class _Submitted:
    """One mail of a body, with its Message-ID, "" where it has none."""

    raw: bytes
    msgid: str
    lists: tuple[str, ...]
    defects: tuple[Defect, ...]


def submit_mail(http_request: Request, raw: bytes) -> Response:
    """Accept one mail, or those of an mbox. `?project=` names the list where no List-Id does."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    media_type = http_request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise ApiError(415, {"detail": f"Unsupported media type {media_type!r} in request."})
    mails = _split_body(raw, request.config.serve.max_size)
    with request.write() as connection:
        list_id = _find_list(connection, request)
        deliveries = [
            Delivery(
                raw=mail.raw,
                sha256=sha256(mail.raw).digest(),
                source=SOURCE,
                route=_route(mail, list_id, account),
                container_errors=mail.defects,
            )
            for mail in mails
        ]
        queued = enqueue(connection, deliveries, now=request.context.now())
        new = {mail.sha256: mail.is_new for mail in queued}
    records = [
        {
            "msgid": mail.msgid,
            "sha256": delivery.sha256.hex(),
            "is_new": new[delivery.sha256],
        }
        for mail, delivery in zip(mails, deliveries, strict=True)
    ]
    return JsonResponse({"mails": records}, status_code=201)


def _split_body(raw: bytes, max_size: int) -> list[_Submitted]:
    """Return the mails of a body. Raises `ApiError` where it is none."""
    if is_mbox(raw[:4_096]):
        stream = io.BytesIO(raw)
        parts = [(mail.raw, mail.defects) for mail in split_mbox(stream.read)]
    elif is_mail(raw[:4_096]):
        parts = [(raw, ())]
    else:
        raise ApiError(400, {"detail": "The body is neither a mail nor an mbox."})
    if len(parts) > _MAX_MAILS:
        raise ApiError(413, {"detail": f"At most {_MAX_MAILS} mails are accepted at once."})
    if any(len(mail) > max_size for mail, _ in parts):
        raise ApiError(413, {"detail": f"A mail may have at most {max_size} bytes."})
    mails = []
    for content, defects in parts:
        message = parse_message(content)
        lists = tuple(name.list_id for name in message.lists)
        mails.append(_Submitted(content, message.msgid or "", lists, defects))
    return mails


def _find_list(connection: Connection, request: ApiRequest) -> str | None:
    """Return the id of the list that the request names, None where it names none."""
    name = request.params.last("project")
    if name is None:
        return None
    rows = read_all_lists(connection)
    by_number = {str(row.id): row.list_id for row in rows}
    found: Sequence[str] = request.config.match_list_ids(name, by_number.values())
    if name in by_number:
        found = (by_number[name],)
    if len(found) != 1:
        raise ApiError(400, {"project": [f"There is no project {name!r}."]})
    return found[0]


def _route(mail: _Submitted, list_id: str | None, account: Account) -> tuple[str, ...]:
    """Return the lists that a mail is for. Raises `ApiError` where the account may not send it.

    An account of some lists may send mail to these only, whatever lists the mail names.
    """
    if not account.active:
        raise permission_denied()
    is_limited = not (account.all_lists or account.is_superuser)
    named = (list_id,) if list_id is not None else mail.lists
    if is_limited and (not named or not set(named) <= set(account.lists)):
        raise permission_denied()
    if list_id is not None:
        return (list_id,)
    return mail.lists if is_limited else (BY_LIST_ID,)
