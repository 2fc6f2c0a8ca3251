"""Keep the facts of commits, and which refs contain them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select, update

from ingest.lifecycle.commit import CommitFacts
from ingest.mail.message import Address
from ingest.store import schema
from ingest.store.commits.keys import (
    commit_keys,
    find_overfull_keys,
    patch_id_key,
    read_commit_keys,
)
from ingest.store.sql.insertion import allocate_ids, insert_missing_pairs, insert_rows
from ingest.store.sql.key_lists import chunks, is_any, read_values


def find_commits(connection: Connection, shas: Iterable[str]) -> dict[str, int]:
    """Return the ids of those of the commits that are stored."""
    table = schema.git_commit.c
    found: dict[str, int] = {}
    for chunk in chunks(shas):
        query = select(table.sha, table.id).where(is_any(table.sha, chunk))
        found.update((row.sha, row.id) for row in connection.execute(query))
    return found


def insert_commits(connection: Connection, commits: Sequence[CommitFacts]) -> dict[str, int]:
    """Store the facts of commits that are not stored, and return their ids."""
    ids = allocate_ids(connection, schema.git_commit, len(commits))
    rows = [_row(number, commit) for number, commit in zip(ids, commits, strict=True)]
    insert_rows(connection, schema.git_commit, rows)
    insert_rows(
        connection,
        schema.commit_key,
        [
            {"key": key, "commit_id": number}
            for number, commit in zip(ids, commits, strict=True)
            for key in sorted(commit_keys(commit))
        ],
    )
    return {commit.id: number for number, commit in zip(ids, commits, strict=True)}


def write_other_patch_ids(
    connection: Connection, patch_ids: Mapping[str, tuple[str, ...]]
) -> set[int]:
    """Store the patch-ids by other diff algorithms, by commit. Returns the ids of the commits."""
    table = schema.git_commit
    rows: list[dict[str, Any]] = []
    keys: list[tuple[int, int]] = []
    for chunk in chunks(patch_ids):
        query = select(table.c.id, table.c.sha, table.c.patch_id)
        for row in connection.execute(query.where(is_any(table.c.sha, chunk))):
            others = [value for value in patch_ids[row.sha] if value != row.patch_id]
            rows.append({"b_id": row.id, "b_ids": _dump(others, empty="[]")})
            keys += ((patch_id_key(value), row.id) for value in others)
    if rows:
        connection.execute(
            update(table)
            .where(table.c.id == bindparam("b_id"))
            .values(other_patch_ids=bindparam("b_ids"), pending=False),
            rows,
        )
    insert_missing_pairs(connection, schema.commit_key, sorted(keys))
    return {row["b_id"] for row in rows}


def read_facts(connection: Connection, ids: Iterable[int]) -> dict[int, CommitFacts]:
    """Return the facts of stored commits, by id."""
    facts: dict[int, CommitFacts] = {}
    for chunk in chunks(ids):
        query = select(schema.git_commit).where(is_any(schema.git_commit.c.id, chunk))
        for row in connection.execute(query):
            facts[row.id] = CommitFacts(
                id=row.sha,
                author=Address(row.author_name, row.author_email),
                author_date=row.author_date,
                commit_date=row.commit_date,
                title=row.title,
                links=_load(row.links),
                originals=_load(row.originals),
                patch_id=row.patch_id,
                other_patch_ids=_load(row.other_patch_ids),
                sample=row.sample,
            )
    return facts


def set_pending(connection: Connection, commit_ids: Iterable[int], *, value: bool) -> None:
    """Store whether commits need other patch-ids: those that have one, and not the others yet."""
    table = schema.git_commit
    for chunk in chunks(commit_ids):
        connection.execute(
            update(table)
            .where(
                is_any(table.c.id, chunk),
                table.c.pending.is_(not value),
                table.c.patch_id.is_not(None),
                table.c.other_patch_ids.is_(None),
            )
            .values(pending=value)
        )


def read_pending(
    connection: Connection, repository_id: int, *, after: int, count: int
) -> list[Any]:
    """Return commits of a repository that need other patch-ids: rows with `id` and `sha`."""
    commit, member = schema.git_commit.c, schema.ref_commit.c
    query = (
        select(commit.id, commit.sha)
        .where(
            commit.pending.is_(True),
            commit.id > after,
            exists(
                select(member.commit_id).where(
                    member.commit_id == commit.id, member.repository_id == repository_id
                )
            ),
        )
        .order_by(commit.id)
        .limit(count)
    )
    return list(connection.execute(query))


def iter_commits(connection: Connection, count: int) -> Iterator[list[int]]:
    """Yield the ids of all commits, at most `count` at a time."""
    table, last = schema.git_commit.c, 0
    while True:
        query = select(table.id).where(table.id > last).order_by(table.id).limit(count)
        ids = list(connection.execute(query).scalars())
        if not ids:
            return
        yield ids
        last = ids[-1]


# --- which refs contain them ---


def read_commit_memberships(
    connection: Connection, repository_id: int, commit_ids: Iterable[int]
) -> dict[int, int]:
    """Return the first ref of a repository that contains each commit, by commit."""
    table = schema.ref_commit.c
    members: dict[int, int] = {}
    for chunk in chunks(commit_ids):
        query = select(table.commit_id, table.ref_id).where(
            table.repository_id == repository_id, is_any(table.commit_id, chunk)
        )
        members.update((row.commit_id, row.ref_id) for row in connection.execute(query))
    return members


def write_memberships(
    connection: Connection, repository_id: int, wanted: Mapping[int, int | None]
) -> set[int]:
    """Store which ref of a repository contains each commit, None for no ref.

    Returns the commits for which this has changed.
    """
    stored = read_commit_memberships(connection, repository_id, wanted)
    changed = {commit_id for commit_id, ref_id in wanted.items() if stored.get(commit_id) != ref_id}
    table = schema.ref_commit
    for chunk in chunks(changed & stored.keys()):
        connection.execute(
            delete(table).where(
                table.c.repository_id == repository_id, is_any(table.c.commit_id, chunk)
            )
        )
    rows = [
        {"repository_id": repository_id, "commit_id": commit_id, "ref_id": ref_id}
        for commit_id in sorted(changed)
        if (ref_id := wanted[commit_id]) is not None
    ]
    insert_rows(connection, table, rows)
    return changed


def read_ref_commits(
    connection: Connection, ref_id: int, *, after: int, count: int
) -> dict[int, str]:
    """Return the next commits of a ref by id, with their hashes."""
    commit, member = schema.git_commit.c, schema.ref_commit.c
    query = (
        select(commit.id, commit.sha)
        .join(schema.ref_commit, member.commit_id == commit.id)
        .where(member.ref_id == ref_id, member.commit_id > after)
        .order_by(member.commit_id)
        .limit(count)
    )
    return {row.id: row.sha for row in connection.execute(query)}


def find_unreferenced(connection: Connection, commit_ids: Iterable[int]) -> set[int]:
    """Return those of the commits that no ref of any repository contains."""
    ids = set(commit_ids)
    table = schema.ref_commit.c
    return ids - read_values(connection, select(table.commit_id), table.commit_id, ids)


def delete_commits(connection: Connection, commit_ids: Collection[int]) -> set[int]:
    """Delete commits that no ref contains and that no patch has landed in.

    Returns further commits that can match now, since a key of theirs is no longer overfull.
    """
    keys = read_commit_keys(connection, schema.commit_key, "commit_id", commit_ids)
    overfull = find_overfull_keys(connection, schema.commit_key, keys)
    for chunk in chunks(commit_ids):
        for table, column in ((schema.commit_key, "commit_id"), (schema.git_commit, "id")):
            connection.execute(delete(table).where(is_any(table.c[column], chunk)))
    usable = overfull - find_overfull_keys(connection, schema.commit_key, overfull)
    return find_commits_by_keys(connection, usable)


def find_commits_by_keys(connection: Connection, keys: Collection[int]) -> set[int]:
    """Return the commits that have one of these keys, of which none is overfull."""
    table = schema.commit_key.c
    return read_values(connection, select(table.commit_id).distinct(), table.key, keys)


def _row(number: int, commit: CommitFacts) -> dict[str, Any]:
    return {
        "id": number,
        "sha": commit.id,
        "author_name": schema.storable(commit.author.name),
        "author_email": schema.storable(commit.author.email),
        "author_date": commit.author_date,
        "commit_date": commit.commit_date,
        "title": schema.storable(commit.title),
        "links": _dump(tuple(map(schema.storable, commit.links))),
        "originals": _dump(commit.originals),
        "patch_id": commit.patch_id,
        "other_patch_ids": None,
        "sample": commit.sample,
        "pending": False,
    }


def _dump(values: Collection[str], *, empty: str | None = None) -> str | None:
    return json.dumps(list(values), ensure_ascii=False) if values else empty


def _load(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()
