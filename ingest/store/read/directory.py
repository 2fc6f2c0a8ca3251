"""Read the mailing lists, and look up people and accounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from ingest.store import schema
from ingest.store.read.messages import ListRow
from ingest.store.read.pages.filters import RowSelector
from ingest.store.read.pages.text_search import match_text
from ingest.store.sql.key_lists import chunks
from ingest.trust.person import person_key


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person, with the name of the newest message, and the account that has this address."""

    id: int
    name: str
    email: str
    account_id: int | None = None


def read_all_lists(connection: Connection) -> list[ListRow]:
    """Return every mailing list of the store, by row number."""
    table = schema.list_
    rows = connection.execute(select(table).order_by(table.c.id))
    return [ListRow(row.id, row.list_id, row.link_name, row.email) for row in rows]


def read_list_ids(connection: Connection) -> set[str]:
    """Return the List-Ids that have a row."""
    return set(connection.execute(select(schema.list_.c.list_id)).scalars())


def read_people(connection: Connection, ids: Iterable[int]) -> dict[int, PersonRow]:
    """Return the people with these ids, by id."""
    person = schema.person.c
    people: dict[int, PersonRow] = {}
    for chunk in chunks(ids):
        query = select(person.id, person.name, person.email, person.account_id)
        for row in connection.execute(query.where(person.id.in_(chunk))):
            people[row.id] = PersonRow(row.id, row.name, row.email, row.account_id)
    return people


def read_user_names(connection: Connection, person_ids: Iterable[int]) -> dict[int, str]:
    """Return the names of those of these people who have an account, by person."""
    person = schema.person.c
    query = select(person.id, person.name).where(person.account_id.is_not(None))
    names: dict[int, str] = {}
    for chunk in chunks(person_ids):
        names |= {row.id: row.name for row in connection.execute(query.where(person.id.in_(chunk)))}
    return names


def find_person_ids(connection: Connection, selector: RowSelector) -> list[int]:
    """Return the ids of people, selected by id, by whole address or by part of a name."""
    person = schema.person.c
    found: dict[int, None] = dict.fromkeys(selector.ids)
    for name in selector.names:
        if "@" in name:
            condition: ColumnElement[bool] = person.key == person_key(name)
        else:
            condition = person.name.icontains(name, autoescape=True)
            matches = match_text(connection, schema.person, name)
            if matches is not None:
                condition &= person.id.in_(matches)
        query = select(person.id).where(condition)
        found |= dict.fromkeys(connection.execute(query).scalars().all())
    return list(found)


def find_account_ids(connection: Connection, selector: RowSelector) -> list[int]:
    """Return the ids of accounts, selected by id, by name or by address, case-insensitive."""
    account = schema.account.c
    names = [name.lower() for name in selector.names]
    if not names:
        return list(selector.ids)
    query = select(account.id).where(
        func.lower(account.name).in_(names) | func.lower(account.email).in_(names)
    )
    return [*selector.ids, *connection.execute(query).scalars()]


def has_account(connection: Connection, account_id: int) -> bool:
    """Return whether there is an account with this id."""
    account = schema.account.c
    query = select(account.id).where(account.id == account_id)
    return connection.execute(query).first() is not None


def find_account_named(connection: Connection, name: str) -> int | None:
    """Return the id of the account with exactly this name, None where there is none."""
    account = schema.account.c
    query = select(account.id).where(account.name == name)
    return connection.execute(query).scalar_one_or_none()
