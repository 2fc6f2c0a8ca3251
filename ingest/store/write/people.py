"""People and lists: one row for each address, one for each list id.

A person's shown name is the one on their newest message, whenever that message came, so that
the order of arrival leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
from ingest.store.sql import allocate, chunks, insert_new, is_any
from ingest.trust.from_munging import MungingStyle, looks_munged


def upsert_people(connection: Connection, derived: Iterable[Derived]) -> Mapping[str, int]:
    """Rows for the submitters. Returns person ids by `facts.sender`."""
    names: dict[str, tuple[str, str]] = {}
    for one in derived:
        ranked = (_name_rank(one), one.sender.name)
        key = one.facts.sender
        names[key] = max(ranked, names.get(key, ranked))
    rows = _stored(connection, schema.person, schema.person.c.email, names)
    missing = [key for key in names if key not in rows]
    fresh = dict(zip(missing, allocate(connection, schema.person, len(missing)), strict=True))
    insert_new(
        connection,
        schema.person,
        [
            {"id": fresh[key], "email": key, "name": names[key][1], "name_rank": names[key][0]}
            for key in missing
        ],
        "email",
    )
    # Somebody else may have inserted them at the same time.
    rows |= _stored(connection, schema.person, schema.person.c.email, missing)
    newer = [
        {"b_id": row.id, "b_name": names[key][1], "b_rank": names[key][0]}
        for key, row in sorted(rows.items())
        if names[key][0] > row.name_rank
    ]
    if newer:
        person = schema.person.c
        connection.execute(
            update(schema.person)
            .where(
                person.id == bindparam("b_id"),
                _by_code_point(connection, person.name_rank) < bindparam("b_rank"),
            )
            .values(name=bindparam("b_name"), name_rank=bindparam("b_rank")),
            newer,
        )
    return {key: row.id for key, row in rows.items()}


def _name_rank(one: Derived) -> str:
    """A name before none, then the newest; the Message-ID decides between equals, and the name
    itself between the copies of one message.
    """
    date = one.facts.date.isoformat() if one.facts.date else ""
    return f"{int(bool(one.sender.name))} {date} {one.facts.key} {one.sender.name}"


def upsert_lists(connection: Connection, derived: Iterable[Derived]) -> Mapping[str, int]:
    """Rows for the lists that mail came through. Returns ids by list id."""
    found: dict[str, ListName] = {}
    for one in derived:
        for name in one.lists:
            known = found.get(name.list_id)
            if known is None or name.email > known.email:
                found[name.list_id] = name
    rows = _stored(connection, schema.list_, schema.list_.c.list_id, found)
    missing = [key for key in found if key not in rows]
    fresh = dict(zip(missing, allocate(connection, schema.list_, len(missing)), strict=True))
    insert_new(
        connection,
        schema.list_,
        [
            {
                "id": fresh[key],
                "list_id": key,
                "link_name": link_name(key),
                "email": found[key].email,
            }
            for key in missing
        ],
        "list_id",
    )
    rows |= _stored(connection, schema.list_, schema.list_.c.list_id, missing)
    # A mail may name the list by its id alone; of several addresses the greatest stays, which
    # is arbitrary but does not depend on which came first.
    better = [
        {"b_id": row.id, "b_email": found[key].email}
        for key, row in sorted(rows.items())
        if found[key].email > row.email
    ]
    if better:
        list_ = schema.list_.c
        connection.execute(
            update(schema.list_)
            .where(
                list_.id == bindparam("b_id"),
                _by_code_point(connection, list_.email) < bindparam("b_email"),
            )
            .values(email=bindparam("b_email")),
            better,
        )
    return {key: row.id for key, row in rows.items()}


@frozen
class ListLikePerson:
    """A stored person who looks like a list or a relay after all, and how much mail is theirs."""

    person: Address
    rewriting: MungingStyle
    messages: int


def find_list_like_people(connection: Connection) -> list[ListLikePerson]:
    """The submitters that still look like a list, those with the most mail first."""
    list_, person = schema.list_.c, schema.person.c
    lists: set[str] = set()
    for row in connection.execute(select(list_.list_id, list_.email)):
        lists.update(one for one in (row.list_id, row.email.lower()) if one)
    query = (
        select(person.name, person.email, func.count().label("messages"))
        .join(schema.message, schema.message.c.person_id == person.id)
        .group_by(person.id, person.name, person.email)
    )
    found = []
    for row in connection.execute(query):
        who = Address(row.name, row.email)
        rewriting = looks_munged(who, lists)
        if rewriting is not None:
            found.append(ListLikePerson(who, rewriting, row.messages))
    return sorted(found, key=lambda one: (-one.messages, one.person.email))


def forget_ranks(connection: Connection) -> None:
    """Let whatever is derived next say names and addresses anew: they only ever rise, and
    another parser or configuration may say less. Until then people keep their names.
    """
    connection.execute(update(schema.person).values(name_rank=""))
    connection.execute(update(schema.list_).values(email=""))


def link_name(list_id: str) -> str:
    """The short name of a list: `linux-ext4` of `linux-ext4.vger.kernel.org`."""
    return list_id.split(".", 1)[0] or list_id


def _by_code_point(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """A text as Python compares it. A database's own order of letters may be a language's, and
    with that a name that is greater here would be less there.
    """
    return collate(column, "C" if connection.dialect.name == "postgresql" else "BINARY")


def _stored(
    connection: Connection, table: Table, column: Any, wanted: Iterable[str]
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for some in chunks(wanted):
        for row in connection.execute(select(table).where(is_any(column, some))):
            rows[row._mapping[column]] = row  # noqa: SLF001 - SQLAlchemy's public name for it
    return rows
