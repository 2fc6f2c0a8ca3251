"""Write the lists, accounts and people of a Patchwork site, under its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.accounts import digest_token
from ingest.store.imports.ledger import Entry, digest_row, read_entries, write_entries
from ingest.store.patchwork.rows import PatchworkPerson, PatchworkProject, PatchworkUser
from ingest.store.site.numbers import NumberKind
from ingest.store.site.projects import set_project
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.trust.person import person_key


class NumberTakenError(Exception):
    """A number of Patchwork is the number of something else here. The text is one line."""


def write_projects(connection: Connection, projects: Sequence[PatchworkProject]) -> int:
    """Write the projects as lists, and return how many were new or have changed."""
    entries = read_entries(connection, NumberKind.LIST, [row.number for row in projects])
    changed = [row for row in projects if _differs(entries.get(row.number), row)]
    for row in changed:
        table = schema.list_
        stored = connection.execute(select(table.c.list_id).where(table.c.id == row.number)).first()
        if stored is None:
            connection.execute(
                insert(table).values(
                    id=row.number, list_id=row.list_id, link_name=row.link_name,
                    email=row.list_email,
                )
            )  # fmt: skip
        elif stored.list_id != row.list_id:
            raise NumberTakenError(
                f"list {row.number} is {stored.list_id} here and {row.list_id} in Patchwork:"
                " import into a new store"
            )
        set_project(connection, row.number, _settings(row))
    write_entries(
        connection,
        NumberKind.LIST,
        {row.number: Entry(row.number, digest_row(row)) for row in changed},
    )
    return len(changed)


def _settings(row: PatchworkProject) -> dict[str, Any]:
    return {
        "name": row.name,
        "link_name": row.link_name,
        "list_email": row.list_email,
        "web_url": row.web_url,
        "scm_url": row.scm_url,
        "webscm_url": row.webscm_url,
        "list_archive_url": row.list_archive_url,
        "list_archive_url_format": row.list_archive_url_format,
        "commit_url_format": row.commit_url_format,
        "subject_match": row.subject_match,
        "use_tags": row.use_tags,
        "show_dependencies": row.show_dependencies,
    }


def _differs(entry: Entry | None, row: object) -> bool:
    return entry is None or entry.digest != digest_row(row)


def write_accounts(
    connection: Connection, users: Sequence[PatchworkUser], list_ids: Mapping[int, str]
) -> int:
    """Write the users as accounts, and return how many were new or have changed.

    `list_ids`: the id of the list of each project. Tokens are stored as digests.
    """
    entries = read_entries(connection, NumberKind.ACCOUNT, [row.number for row in users])
    changed = [row for row in users if _differs(entries.get(row.number), row)]
    table = schema.account
    for row in changed:
        values = _account(row, list_ids)
        result = connection.execute(update(table).where(table.c.id == row.number).values(values))
        if not result.rowcount:
            connection.execute(insert(table).values(id=row.number, **values))
    write_entries(
        connection,
        NumberKind.ACCOUNT,
        {row.number: Entry(row.number, digest_row(row)) for row in changed},
    )
    return len(changed)


def _account(row: PatchworkUser, list_ids: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "email": row.email,
        "digest": digest_token(row.token) if row.token is not None else None,
        "lists": ",".join(sorted(list_ids[project] for project in row.projects)),
        "all_lists": False,
        "is_superuser": row.is_superuser,
        "is_active": row.is_active,
        "settings": json.dumps(
            {
                "send_email": row.send_email,
                "items_per_page": row.items_per_page,
                "show_ids": row.show_ids,
            }
        ),
        "made": row.token_made or row.joined,
    }


@frozen
class _NewPerson:
    row: PatchworkPerson
    key: str


def write_people(connection: Connection, people: Iterable[PatchworkPerson]) -> int:
    """Write people, and return how many were new or have changed.

    Two people of Patchwork whose addresses differ in case are one: the number of the second leads
    to the first. The name of a person who has an account is that of the account, whatever a mail
    says.
    """
    changed = 0
    for batch in chunks(people):
        entries = read_entries(connection, NumberKind.PERSON, [row.number for row in batch])
        differing = [
            _NewPerson(row, person_key(row.email))
            for row in batch
            if _differs(entries.get(row.number), row)
        ]
        known = _read_people(connection, [person.key for person in differing])
        new: list[dict[str, Any]] = []
        updates: list[dict[str, Any]] = []
        results: dict[int, Entry] = {}
        for person in differing:
            row_id = known.setdefault(person.key, person.row.number)
            values = {"name": person.row.name, "email": person.row.email}
            rank = _NAME_OF_ACCOUNT if person.row.user is not None else ""
            if row_id == person.row.number and person.row.number not in entries:
                new.append(
                    {
                        "id": row_id, "key": person.key, **values, "name_rank": rank,
                        "account_id": person.row.user,
                    }
                )  # fmt: skip
            elif person.row.user is not None:
                updates.append({"b_id": row_id, **values, "name_rank": rank,
                                "account_id": person.row.user})  # fmt: skip
            results[person.row.number] = Entry(row_id, digest_row(person.row))
        insert_rows(connection, schema.person, new)
        if updates:
            is_own = schema.person.c.id == bindparam("b_id")
            connection.execute(update(schema.person).where(is_own), updates)
        write_entries(connection, NumberKind.PERSON, results)
        changed += len(differing)
    return changed


# After the rank of every mail (see store.write.people.name_rank).
_NAME_OF_ACCOUNT = "2"


def _read_people(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    table: Table = schema.person
    known: dict[str, int] = {}
    for chunk in chunks(keys):
        query = select(table.c.key, table.c.id).where(is_any(table.c.key, chunk))
        known.update((row.key, row.id) for row in connection.execute(query))
    return known
