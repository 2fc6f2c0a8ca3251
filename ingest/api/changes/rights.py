"""Decide who may change what, as in Patchwork.

Maintainers of a list may change what belongs to it; the delegate of a patch and its submitter, if
the address is that of an account, may change this patch.
"""

from __future__ import annotations

from sqlalchemy import Connection

from ingest.api.context import ApiRequest
from ingest.api.lookup import find_by_row, find_message_successor
from ingest.api.params import ApiError, not_found
from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account
from ingest.store.read.directory import read_people
from ingest.store.read.messages import MessageRow
from ingest.store.site.numbers import NumberKind


def permission_denied() -> ApiError:
    """Return the error for what the account may not do."""
    return ApiError(403, {"detail": "You do not have permission to perform this action."})


def authenticate_writer(request: ApiRequest) -> Account:
    """Return the account of the request's token.

    It is read before the writing transaction begins, so that clients without a token cannot block
    other writers.
    """
    with request.read() as connection:
        return request.require_account(connection)


def writable_patch(connection: Connection, request: ApiRequest, account: Account) -> MessageRow:
    """Return the patch that the path names, or the one that has taken its place.

    Raises `ApiError` where there is none, or where the account may not change it.
    """
    row = find_by_row(connection, request.message_row(NumberKind.PATCH), Outcome.PATCH)
    if row is None:
        successor = find_message_successor(connection, request, NumberKind.PATCH)
        row = find_by_row(connection, successor, Outcome.PATCH)
    if row is None:
        raise not_found()
    require_right(connection, row, account)
    return row


def require_right(
    connection: Connection, row: MessageRow, account: Account, *, author: MessageRow | None = None
) -> None:
    """Raise `ApiError` unless the account may change a message.

    `author`: a further message whose submitter may do it: the comment that is marked.
    """
    if account.may_write([list_.list_id for list_ in row.lists]):
        return
    if account.active and row.delegate_id == account.id:
        return
    person_ids = {row.person_id} | ({author.person_id} if author is not None else set())
    people = read_people(connection, person_ids).values()
    if not account.active or all(person.account_id != account.id for person in people):
        raise permission_denied()
