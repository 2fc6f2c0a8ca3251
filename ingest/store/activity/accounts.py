"""Store the accounts that may write through the API, and their tokens.

A token is shown once, when it is made, and only its digest is stored. It has 256 random bits, so a
plain SHA-256 of it reveals nothing; slow hashes are for passwords that people can remember.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.states import sync_delegate
from ingest.store.sql.key_lists import chunks


@frozen
class Account:
    """An account of the API.

    `lists` are the ids of the lists that it maintains, and may therefore write to; with `all_lists`
    it maintains all. A superuser may write to all, and need not maintain any. `active` tells
    whether it has a token that it may use: an account of Patchwork may be switched off
    (`is_active`). `settings` are those of its owner, as Patchwork has them. `created` is the time
    of its latest token.
    """

    id: int
    name: str
    email: str
    lists: tuple[str, ...]
    active: bool
    created: datetime
    all_lists: bool = True
    is_superuser: bool = False
    is_active: bool = True
    first_name: str = ""
    last_name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def maintains(self, list_ids: Iterable[str]) -> bool:
        """Tell whether the account is a maintainer of one of these lists."""
        return self.all_lists or not set(self.lists).isdisjoint(list_ids)

    def may_write(self, list_ids: Iterable[str]) -> bool:
        """Tell whether the account may write to a patch that was sent to these lists."""
        return self.active and (self.is_superuser or self.maintains(list_ids))


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
    values = {
        "email": email,
        "lists": ",".join(sorted(set(lists))),
        "all_lists": not lists,
        "made": now,
    }
    if row is None:
        new = {
            "first_name": "", "last_name": "", "is_superuser": False, "is_active": True,
            "settings": "{}",
        }  # fmt: skip
        statement = insert(table).values(name=name, digest=None, **new, **values)
        statement = statement.returning(table.c.id)
        account_id = connection.execute(statement).scalar_one()
    else:
        account_id = row.id
    token = f"{account_id}-{secrets.token_urlsafe(32)}"
    connection.execute(
        update(table).where(table.c.id == account_id).values(digest=digest_token(token), **values)
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

    It is found by the digest. How long that takes reveals parts of a digest at most, which help
    nobody to find the token: it has at least 160 random bits.
    """
    table = schema.account
    row = connection.execute(select(table).where(table.c.digest == digest_token(token))).first()
    return _account(row) if row is not None and row.is_active else None


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


def update_account(connection: Connection, account_id: int, **values: Any) -> None:
    """Set these of `first_name`, `last_name`, `email` and `settings` of an account."""
    if "settings" in values:
        values["settings"] = json.dumps(values["settings"], sort_keys=True)
    if values:
        table = schema.account
        connection.execute(update(table).where(table.c.id == account_id).values(**values))


def digest_token(token: str) -> bytes:
    """Return the digest of a token, by which its account is found."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _account(row: Any) -> Account:
    return Account(
        row.id,
        row.name,
        row.email,
        tuple(row.lists.split(",")) if row.lists else (),
        row.digest is not None and row.is_active,
        row.made,
        row.all_lists,
        row.is_superuser,
        row.is_active,
        row.first_name,
        row.last_name,
        json.loads(row.settings),
    )
