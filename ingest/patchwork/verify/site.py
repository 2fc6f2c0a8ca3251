"""Compare projects, states, tags, users, people and bundles."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection

from ingest.patchwork.run import PatchworkSite
from ingest.patchwork.verify.difference import Comparison
from ingest.store.activity.accounts import find_account, read_accounts
from ingest.store.imports.ledger import read_entry_numbers
from ingest.store.patchwork import activity_rows, site_rows
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.read.directory import read_all_lists, read_people
from ingest.store.site.bundles import read_bundles
from ingest.store.site.numbers import NumberKind
from ingest.store.site.projects import read_projects, read_tags
from ingest.store.site.states import read_states


def compare_site(
    connection: Connection, database: PatchworkDatabase, own: PatchworkSite, result: Comparison
) -> None:
    """Compare what the site is apart from its mail."""
    lists = {row.id: row for row in read_all_lists(connection)}
    settings = read_projects(connection)
    for project in own.projects:
        stored = settings.get(project.number)
        ours = None
        if stored is not None and project.number in lists:
            ours = {**asdict(stored), "list_id": lists[project.number].list_id}
        theirs = {
            key: value for key, value in asdict(project).items() if key not in ("number", "listid")
        }
        result.compare("project", project.number, theirs, ours)
    for kind, rows, known in (
        ("state", own.states, read_states(connection, ())),
        ("tag", site_rows.fetch_tags(database), read_tags(connection)),
    ):
        by_number = {row.number: row for row in known}
        for row in rows:
            found = by_number.get(row.number)
            ours = asdict(found) if found is not None else None
            result.compare(kind, row.number, asdict(row), ours)
    _compare_users(connection, own, result)
    _compare_people(connection, database, result)


def _compare_users(connection: Connection, own: PatchworkSite, result: Comparison) -> None:
    accounts = read_accounts(connection)
    for user in own.users:
        account = accounts.get(user.number)
        theirs = {
            "username": user.name,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "email": user.email,
            "is_active": user.is_active,
            "is_superuser": user.is_superuser,
            "lists": tuple(sorted(own.list_ids[project] for project in user.projects)),
            "items_per_page": user.items_per_page,
            "token": user.number if user.token is not None and user.is_active else None,
        }
        ours = None
        if account is not None:
            found = find_account(connection, user.token) if user.token is not None else None
            ours = {
                "username": account.name,
                "first_name": account.first_name,
                "last_name": account.last_name,
                "email": account.email,
                "is_active": account.is_active,
                "is_superuser": account.is_superuser,
                "lists": account.lists,
                "items_per_page": account.settings.get("items_per_page"),
                "token": found.id if found is not None else None,
            }
        result.compare("user", user.number, theirs, ours)


def _compare_people(
    connection: Connection, database: PatchworkDatabase, result: Comparison
) -> None:
    rows = read_entry_numbers(connection, NumberKind.PERSON)
    people = read_people(connection, {row_id for row_id in rows.values() if row_id is not None})
    for person in site_rows.fetch_people(database):
        found = people.get(rows.get(person.number) or 0)
        ours = None
        if found is not None:
            ours = {"email": found.email.lower(), "name": found.name}
        theirs = {"email": person.email.lower(), "name": person.name}
        reason = "the name on the newest mail" if found and found.name != person.name else ""
        result.compare("person", person.number, theirs, ours, reason=reason)


def compare_bundles(
    connection: Connection,
    database: PatchworkDatabase,
    patches: dict[int, int | None],
    result: Comparison,
) -> None:
    """Compare the bundles with their patches."""
    rows = activity_rows.fetch_bundles(database)
    bundles = read_bundles(connection, [row.number for row in rows])
    for row in rows:
        theirs = {
            "name": row.name,
            "public": row.public,
            "owner": row.owner,
            "project": row.project,
            "patches": tuple(patches.get(number) for number in row.patches),
        }
        found = bundles.get(row.number)
        ours = None
        if found is not None:
            ours = {
                "name": found.name,
                "public": found.public,
                "owner": found.account_id,
                "project": found.list_id,
                "patches": found.patches,
            }
        result.compare("bundle", row.number, theirs, ours)
