"""Read what a Patchwork site is: projects, states, tags, users, people, rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.rows import (
    PatchworkPerson,
    PatchworkProject,
    PatchworkRule,
    PatchworkUser,
)
from ingest.store.site.projects import Tag
from ingest.store.site.states import StateDefinition


def fetch_projects(database: PatchworkDatabase) -> list[PatchworkProject]:
    """Return the projects, by number."""
    table = database.table("project")
    return [
        PatchworkProject(
            number=row["id"],
            link_name=row["linkname"],
            name=row["name"],
            list_id=row["listid"].lower(),
            list_email=row["listemail"],
            subject_match=row.get("subject_match", ""),
            web_url=row.get("web_url") or "",
            scm_url=row.get("scm_url") or "",
            webscm_url=row.get("webscm_url") or "",
            list_archive_url=row.get("list_archive_url") or "",
            list_archive_url_format=row.get("list_archive_url_format") or "",
            commit_url_format=row.get("commit_url_format") or "",
            use_tags=bool(row.get("use_tags", True)),
            show_dependencies=bool(row.get("show_dependencies", False)),
        )
        for row in database.connection.execute(select(table).order_by(table.c.id)).mappings()
    ]


def fetch_states(database: PatchworkDatabase) -> list[StateDefinition]:
    """Return the states, in their order. Before 3.0 they had no slugs in the database."""
    table = database.table("state")
    query = select(table).order_by(table.c.ordering)
    return [
        StateDefinition(
            row["id"],
            row["name"],
            row.get("slug") or "-".join(row["name"].lower().split()),
            row["ordering"],
            bool(row["action_required"]),
        )
        for row in database.connection.execute(query).mappings()
    ]


def fetch_tags(database: PatchworkDatabase) -> list[Tag]:
    """Return the tags, by number."""
    if not database.has("tag"):
        return []
    table = database.table("tag")
    return [
        Tag(row.id, row.name, row.pattern, row.abbrev, bool(row.show_column))
        for row in database.connection.execute(select(table).order_by(table.c.id))
    ]


def fetch_users(database: PatchworkDatabase) -> list[PatchworkUser]:
    """Return the users with their tokens, settings and projects, by number."""
    user = database.table("auth_user")
    profiles = _read_profiles(database)
    projects = _read_maintained(database)
    tokens = _read_tokens(database)
    users = []
    for row in database.connection.execute(select(user).order_by(user.c.id)):
        profile = profiles.get(row.id)
        token = tokens.get(row.id)
        users.append(
            PatchworkUser(
                number=row.id,
                name=row.username,
                first_name=row.first_name or "",
                last_name=row.last_name or "",
                email=row.email or "",
                is_active=bool(row.is_active),
                is_superuser=bool(row.is_superuser),
                joined=database.utc_time(row.date_joined),
                token=token.key if token is not None else None,
                token_made=database.utc_time(token.created) if token is not None else None,
                projects=tuple(sorted(projects[profile.id])) if profile is not None else (),
                send_email=bool(profile.send_email) if profile is not None else False,
                items_per_page=profile.items_per_page if profile is not None else 100,
                show_ids=bool(profile.show_ids) if profile is not None else False,
            )
        )
    return users


def _read_profiles(database: PatchworkDatabase) -> dict[int, Any]:
    table = database.table("userprofile")
    return {row.user_id: row for row in database.connection.execute(select(table))}


def _read_maintained(database: PatchworkDatabase) -> dict[int, set[int]]:
    table = database.table("userprofile_maintainer_projects")
    projects: dict[int, set[int]] = defaultdict(set)
    for row in database.connection.execute(select(table)):
        projects[row.userprofile_id].add(row.project_id)
    return projects


def _read_tokens(database: PatchworkDatabase) -> dict[int, Any]:
    try:
        table = database.table("authtoken_token")
    except KeyError:  # its REST API is switched off
        return {}
    return {row.user_id: row for row in database.connection.execute(select(table))}


def fetch_people(database: PatchworkDatabase) -> Iterator[PatchworkPerson]:
    """Yield the people, by number."""
    table = database.table("person")
    for row in database.rows(select(table).order_by(table.c.id)):
        yield PatchworkPerson(row.id, row.email, row.name or "", row.user_id)


def fetch_rules(database: PatchworkDatabase) -> list[PatchworkRule]:
    """Return the delegation rules, those that take precedence first."""
    table = database.table("delegationrule")
    query = select(table).order_by(table.c.priority.desc(), table.c.path)
    return [
        PatchworkRule(row.path, row.priority, row.project_id, row.user_id)
        for row in database.connection.execute(query)
    ]
