"""Write people and lists: one row for each address, one for each list id.

The name of a person, and the spelling of the address, are those on their newest message, whenever
that message arrived, so that the order of arrival has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    collate,
    func,
    select,
    update,
)

from ingest.frozen import frozen
from ingest.mail.message import Address, ListName
from ingest.model import Derived
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.sql.insertion import insert_missing
from ingest.store.write.redirects import allocate_unused_ids
from ingest.trust.from_munging import MungingStyle, looks_munged


class _RankedAddress(NamedTuple):
    """How a mail writes the name and the address of its sender, and the rank of that."""

    rank: str
    address: Address


def upsert_people(connection: Connection, mails: Iterable[Derived]) -> Mapping[str, int]:
    """Insert or update the rows of the submitters. Returns person ids by `facts.sender`."""
    names: dict[str, _RankedAddress] = {}
    for mail in mails:
        ranked = _RankedAddress(name_rank(mail), mail.sender)
        key = mail.facts.sender
        known = names.get(key)
        if known is None or ranked.rank > known.rank:
            names[key] = ranked
    rows = _read_rows(connection, schema.person, schema.person.c.key, names)
    missing = [key for key in names if key not in rows]
    new_ids = dict(
        zip(missing, allocate_unused_ids(connection, schema.person, len(missing)), strict=True)
    )
    insert_missing(
        connection,
        schema.person,
        [
            {
                "id": new_ids[key],
                "key": key,
                "email": names[key].address.email,
                "name": names[key].address.name,
                "name_rank": names[key].rank,
            }
            for key in missing
        ],
        "key",
    )
    # Read again: another process may have inserted them at the same time.
    rows |= _read_rows(connection, schema.person, schema.person.c.key, missing)
    newer = [
        {
            "b_id": row.id,
            "b_name": names[key].address.name,
            "b_email": names[key].address.email,
            "b_rank": names[key].rank,
        }
        for key, row in sorted(rows.items())
        if names[key].rank > row.name_rank
    ]
    if newer:
        person = schema.person.c
        connection.execute(
            update(schema.person)
            .where(
                person.id == bindparam("b_id"),
                _by_code_point(connection, person.name_rank) < bindparam("b_rank"),
            )
            .values(
                name=bindparam("b_name"),
                email=bindparam("b_email"),
                name_rank=bindparam("b_rank"),
            ),
            newer,
        )
    return {key: row.id for key, row in rows.items()}


def name_rank(mail: Derived) -> str:
    """Return the rank of the sender's name on a mail; the greatest rank of a person wins.

    A name ranks above no name, then a newer mail above an older one. The Message-ID decides
    between equals, and the name and the address themselves between the copies of one message.
    """
    date = mail.facts.date.isoformat() if mail.facts.date else ""
    sender = mail.sender
    return f"{int(bool(sender.name))} {date} {mail.facts.key} {sender.name} {sender.email}"


def upsert_lists(connection: Connection, mails: Iterable[Derived]) -> Mapping[str, int]:
    """Insert or update the rows of the lists that mail came through. Returns ids by list id."""
    names: dict[str, ListName] = {}
    for mail in mails:
        for name in mail.lists:
            known = names.get(name.list_id)
            if known is None or name.email > known.email:
                names[name.list_id] = name
    rows = _read_rows(connection, schema.list_, schema.list_.c.list_id, names)
    missing = [key for key in names if key not in rows]
    new_ids = dict(
        zip(missing, allocate_unused_ids(connection, schema.list_, len(missing)), strict=True)
    )
    insert_missing(
        connection,
        schema.list_,
        [
            {
                "id": new_ids[key],
                "list_id": key,
                "link_name": link_name(key),
                "email": names[key].email,
            }
            for key in missing
        ],
        "list_id",
    )
    rows |= _read_rows(connection, schema.list_, schema.list_.c.list_id, missing)
    # A mail may name the list by its id alone. Of several addresses the greatest is kept, which
    # is arbitrary but does not depend on which arrived first.
    greater = [
        {"b_id": row.id, "b_email": names[key].email}
        for key, row in sorted(rows.items())
        if names[key].email > row.email
    ]
    if greater:
        list_ = schema.list_.c
        connection.execute(
            update(schema.list_)
            .where(
                list_.id == bindparam("b_id"),
                _by_code_point(connection, list_.email) < bindparam("b_email"),
            )
            .values(email=bindparam("b_email")),
            greater,
        )
    return {key: row.id for key, row in rows.items()}


@frozen
class ListLikePerson:
    """A stored person who looks like a list or a relay, and the number of their messages."""

    person: Address
    rewriting: MungingStyle
    messages: int


def find_list_like_people(connection: Connection) -> list[ListLikePerson]:
    """Find the submitters that still look like a list, those with the most messages first."""
    list_, person = schema.list_.c, schema.person.c
    lists: set[str] = set()
    for row in connection.execute(select(list_.list_id, list_.email)):
        lists.update(address for address in (row.list_id, row.email.lower()) if address)
    query = (
        select(person.name, person.email, func.count().label("messages"))
        .join(schema.message, schema.message.c.person_id == person.id)
        .group_by(person.id, person.name, person.email)
    )
    people = []
    for row in connection.execute(query):
        address = Address(row.name, row.email)
        rewriting = looks_munged(address, lists)
        if rewriting is not None:
            people.append(ListLikePerson(address, rewriting, row.messages))
    return sorted(people, key=lambda item: (-item.messages, item.person.email))


def reset_ranks(connection: Connection) -> None:
    """Let the mail that is derived next set the names of people and the addresses of lists again.

    Ranks only ever rise, and another parser or configuration may find a lower one. Until then
    people keep their names. Names of accounts, and addresses that were imported, are not of mail.
    """
    person, project = schema.person, schema.project.c
    connection.execute(update(person).where(person.c.account_id.is_(None)).values(name_rank=""))
    imported = select(project.list_email).where(project.list_id == schema.list_.c.id)
    email = func.coalesce(imported.scalar_subquery(), "")
    connection.execute(update(schema.list_).values(email=email))


def link_name(list_id: str) -> str:
    """Return the short name of a list: `linux-ext4` of `linux-ext4.vger.kernel.org`."""
    return list_id.split(".", 1)[0] or list_id


def _by_code_point(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """Return a text column that compares as Python compares text.

    The collation of a database may be that of a language, by which a name that is greater in
    Python is less in the database.
    """
    return collate(column, "C" if connection.dialect.name == "postgresql" else "BINARY")


def _read_rows(
    connection: Connection, table: Table, column: Any, keys: Iterable[str]
) -> dict[str, Any]:
    """Read the rows whose `column` is one of `keys`, by that column."""
    rows: dict[str, Any] = {}
    for row in _whole_rows(table, column).rows(connection, keys):
        rows[row._mapping[column]] = row  # noqa: SLF001 - SQLAlchemy's public name for it
    return rows


@cache
def _whole_rows(table: Table, column: Any) -> KeyedQuery:
    return KeyedQuery(select(table), column)
