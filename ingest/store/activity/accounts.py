"""Who may write through the API: names, and the tokens that prove them.

A token is shown once, when it is made, and stored as its digest alone. It has 256 random bits,
so that a plain SHA-256 of it tells nothing; slow hashes are for what people can remember.
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
from ingest.store.sql import chunks


@frozen
class Account:
    """`lists`: ids of the lists that it may write to, none for all; `active`: it has a token."""

    id: int
    name: str
    email: str
    lists: tuple[str, ...]
    active: bool
    made: datetime

    def may_write(self, list_ids: Iterable[str]) -> bool:
        return self.active and (not self.lists or not set(self.lists).isdisjoint(list_ids))


class AccountError(Exception):
    """The text is one line."""


def add_token(
    connection: Connection, name: str, *, email: str, lists: Sequence[str], now: datetime
) -> str:
    """A token for that name, to be shown once. Raises `AccountError` where it has one: whoever
    holds that is not to be shut out by a mistyped name.
    """
    table = schema.account
    row = connection.execute(select(table).where(table.c.name == name)).first()
    if row is not None and row.digest is not None:
        raise AccountError(f"{name} has a token; `ingest token revoke {name}` takes it back first")
    values = {"email": email, "lists": ",".join(sorted(set(lists))), "made": now}
    if row is None:
        made = insert(table).values(name=name, digest=None, **values).returning(table.c.id)
        account_id = connection.execute(made).scalar_one()
    else:
        account_id = row.id
    token = f"{account_id}-{secrets.token_urlsafe(32)}"
    connection.execute(
        update(table).where(table.c.id == account_id).values(digest=_digest(token), **values)
    )
    return token


def revoke_token(connection: Connection, name: str) -> None:
    """The token is worth nothing from now on; what was said with it stands."""
    table = schema.account
    done = connection.execute(
        update(table).where(table.c.name == name, table.c.digest.is_not(None)).values(digest=None)
    )
    if not done.rowcount:
        raise AccountError(f"{name} has no token; `ingest token list` shows who has")


def find_account(connection: Connection, token: str) -> Account | None:
    """Whose token it is. The row is found by the number in front, which is no secret; what is
    secret is compared in constant time, also where there is no such row.
    """
    number, _, _ = token.partition("-")
    table = schema.account
    row = None
    if number.isascii() and number.isdigit() and len(number) < 19:
        row = connection.execute(select(table).where(table.c.id == int(number))).first()
    stored = bytes(row.digest) if row is not None and row.digest is not None else bytes(32)
    same = hmac.compare_digest(_digest(token), stored)
    return _account(row) if same and row is not None else None


def read_accounts(connection: Connection, ids: Iterable[int] | None = None) -> dict[int, Account]:
    """All accounts, or those with these numbers."""
    query = select(schema.account).order_by(schema.account.c.id)
    if ids is None:
        return {row.id: _account(row) for row in connection.execute(query)}
    found: dict[int, Account] = {}
    for some in chunks(ids):
        rows = connection.execute(query.where(schema.account.c.id.in_(some)))
        found |= {row.id: _account(row) for row in rows}
    return found


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
