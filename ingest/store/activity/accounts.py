"""Store the accounts that may write through the API, and their tokens.

A token is shown once, when it is made, and only its digest is stored. It has 256 random bits, so a
plain SHA-256 of it reveals nothing; slow hashes are for passwords that people can remember.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.states import sync_delegate
from ingest.store.sql import chunks


@frozen
class Account:
    """An account of the API.

    `lists` are the ids of the lists that it may write to; none means all. `active` tells whether it
    has a token. `created` is the time of its latest token.
    """

    id: int
    name: str
    email: str
    lists: tuple[str, ...]
    active: bool
    created: datetime

    def may_write(self, list_ids: Iterable[str]) -> bool:
        """Tell whether the account may write to a patch that was sent to these lists."""
        return self.active and (not self.lists or not set(self.lists).isdisjoint(list_ids))


class AccountError(Exception):
    """A token cannot be made or revoked. The text is one line."""


def add_token(
    connection: Connection, name: str, *, email: str, lists: Sequence[str], now: datetime
) -> str:
    """Make a token for the account of that name, and return it, to be shown once.

    Raises `AccountError` if the account has a token: a mistyped name must not lock out its holder.
    """
    table = schema.account
    row = connection.execute(select(table).where(table.c.name == name)).first()
    if row is not None and row.digest is not None:
        raise AccountError(f"{name} has a token; `ingest token revoke {name}` takes it back first")
    values = {"email": email, "lists": ",".join(sorted(set(lists))), "made": now}
    if row is None:
        statement = insert(table).values(name=name, digest=None, **values).returning(table.c.id)
        account_id = connection.execute(statement).scalar_one()
    else:
        account_id = row.id
    token = f"{account_id}-{secrets.token_urlsafe(32)}"
    connection.execute(
        update(table).where(table.c.id == account_id).values(digest=_digest(token), **values)
    )
    sync_delegate(connection, [name, email])
    return token


def revoke_token(connection: Connection, name: str) -> None:
    """Make the token of an account invalid. What was set with it remains.

    Raises `AccountError` if the account has no token.
    """
    table = schema.account
    result = connection.execute(
        update(table).where(table.c.name == name, table.c.digest.is_not(None)).values(digest=None)
    )
    if not result.rowcount:
        raise AccountError(f"{name} has no token; `ingest token list` shows who has")


def find_account(connection: Connection, token: str) -> Account | None:
    """Return the account of a token, or None.

    The row is found by the number at the start of the token, which is not secret. The secret part
    is compared in constant time, even if there is no such row.
    """
    number, _, _ = token.partition("-")
    table = schema.account
    row = None
    if number.isascii() and number.isdigit() and len(number) < 19:
        row = connection.execute(select(table).where(table.c.id == int(number))).first()
    stored = bytes(row.digest) if row is not None and row.digest is not None else bytes(32)
    is_equal = hmac.compare_digest(_digest(token), stored)
    return _account(row) if is_equal and row is not None else None


def read_accounts(connection: Connection, ids: Iterable[int] | None = None) -> dict[int, Account]:
    """Return all accounts, or those with these ids, by id."""
    query = select(schema.account).order_by(schema.account.c.id)
    if ids is None:
        return {row.id: _account(row) for row in connection.execute(query)}
    accounts: dict[int, Account] = {}
    for chunk in chunks(ids):
        rows = connection.execute(query.where(schema.account.c.id.in_(chunk)))
        accounts |= {row.id: _account(row) for row in rows}
    return accounts


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _account(row: Any) -> Account:
    return Account(
        row.id,
        row.name,
        row.email,
        tuple(row.lists.split(",")) if row.lists else (),
        row.digest is not None,
        row.made,
    )
