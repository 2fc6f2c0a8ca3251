"""Keep the configured repositories, their refs, and requests to scan them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, text, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql.insertion import insert_missing

Refs = tuple[tuple[str, str], ...]


@frozen
class Repository:
    """A configured repository. `refs`: pairs of pattern and state, the first takes precedence."""

    id: int
    path: str
    refs: Refs


@frozen
class ScannedRef:
    """A ref of a repository, and how far it was scanned; see `schema.scanned_ref`."""

    id: int
    name: str
    rank: int
    state: str
    tip: str | None
    targets: tuple[str, ...]

    @property
    def old_tips(self) -> tuple[str, ...]:
        """Return the commits whose ancestors may be stored as those of this ref."""
        return tuple(dict.fromkeys(tip for tip in (self.tip, *self.targets) if tip is not None))


def has_repositories(connection: Connection) -> bool:
    """Tell whether any repository is scanned."""
    return bool(connection.execute(_HAS_REPOSITORIES).scalar_one())


_HAS_REPOSITORIES = select(exists(select(schema.repository.c.id)))


def register_repositories(
    connection: Connection, lists_by_repository: Mapping[tuple[str, Refs], Collection[str]]
) -> list[Repository]:
    """Store repositories that are new, and return all of them, in the order of the mapping.

    `lists_by_repository`: the ids of the lists, by path and refs.
    """
    stored = {(row.path, row.refs): row for row in read_repositories(connection)}
    missing = [key for key in lists_by_repository if key not in stored]
    if missing and connection.dialect.name == "postgresql":
        # Transactions that store patches, and that do not know of the repositories yet, end first.
        connection.execute(text("LOCK TABLE patch IN SHARE ROW EXCLUSIVE MODE"))
    for path, refs in missing:
        connection.execute(
            insert(schema.repository).values(path=path, refs=json.dumps(refs, ensure_ascii=False))
        )
    if missing:
        stored = {(row.path, row.refs): row for row in read_repositories(connection)}
    return [stored[key] for key in lists_by_repository]


def read_repositories(connection: Connection) -> list[Repository]:
    """Return all stored repositories."""
    query = select(schema.repository).order_by(schema.repository.c.id)
    return [
        Repository(
            row.id, row.path, tuple((pattern, state) for pattern, state in json.loads(row.refs))
        )
        for row in connection.execute(query)
    ]


def read_repository_lists(connection: Connection, repository_id: int) -> set[str]:
    """Return the ids of the lists whose patches land in a repository."""
    table = schema.repository_list.c
    query = select(table.list_id).where(table.repository_id == repository_id)
    return set(connection.execute(query).scalars())


def write_lists(connection: Connection, repository_id: int, list_ids: Iterable[str]) -> None:
    """Store the ids of the lists whose patches land in a repository."""
    table = schema.repository_list
    connection.execute(delete(table).where(table.c.repository_id == repository_id))
    rows = [{"repository_id": repository_id, "list_id": list_id} for list_id in sorted(list_ids)]
    if rows:
        connection.execute(insert(table), rows)


def delete_repository(connection: Connection, repository_id: int) -> None:
    """Delete a repository that has no refs any more."""
    write_lists(connection, repository_id, ())
    table = schema.repository
    connection.execute(delete(table).where(table.c.id == repository_id))


def read_refs(connection: Connection, repository_id: int) -> list[ScannedRef]:
    """Return the refs of a repository in their order: by the configuration, then by name."""
    table = schema.scanned_ref.c
    query = select(table.id, table.name, table.rank, table.state, table.tip, table.targets).where(
        table.repository_id == repository_id
    )
    refs = [ScannedRef(*row[:-1], tuple(row.targets.split())) for row in connection.execute(query)]
    return sorted(refs, key=lambda ref: (ref.rank, ref.name))  # not by the database's collation


def add_targets(
    connection: Connection, repository_id: int, wanted: Sequence[Mapping[str, Any]]
) -> None:
    """Store to which commits refs are going to be scanned, in addition to earlier targets.

    `wanted`: name, rank, state and target of each ref.
    """
    table = schema.scanned_ref
    stored = {ref.name: ref for ref in read_refs(connection, repository_id)}
    for row in wanted:
        values = dict(row)
        target = values.pop("target")
        ref = stored.get(values["name"])
        if ref is None:
            values |= {"repository_id": repository_id, "targets": target}
            connection.execute(insert(table).values(values))
        elif target not in ref.targets:
            connection.execute(
                update(table)
                .where(table.c.id == ref.id)
                .values(targets=" ".join((*ref.targets, target)))
            )


def finish_refs(connection: Connection, repository_id: int, tips: Mapping[str, str]) -> None:
    """Store that the refs were scanned up to their targets, and delete those that are gone."""
    table = schema.scanned_ref
    for ref in read_refs(connection, repository_id):
        is_own = table.c.id == ref.id
        if ref.name not in tips:
            connection.execute(delete(table).where(is_own))
        else:
            tip = tips[ref.name]
            connection.execute(update(table).where(is_own).values(tip=tip, targets=tip))


# --- requests ---


def request_scan(connection: Connection) -> None:
    """Request a scan; `read_requests` shows it."""
    _ensure_status(connection)
    table = schema.scan_status
    connection.execute(update(table).values(requests=table.c.requests + 1))


def read_requests(connection: Connection) -> int:
    """Return how many scans have been requested."""
    return connection.execute(select(schema.scan_status.c.requests)).scalar_one_or_none() or 0


def has_patch_keys(connection: Connection) -> bool:
    """Tell whether every patch has its keys in `patch_key`."""
    query = select(schema.scan_status.c.has_patch_keys)
    return bool(connection.execute(query).scalar_one_or_none())


def set_has_patch_keys(connection: Connection, *, value: bool) -> None:
    """Store whether every patch has its keys."""
    _ensure_status(connection)
    connection.execute(update(schema.scan_status).values(has_patch_keys=value))


def _ensure_status(connection: Connection) -> None:
    row = {"id": 1, "requests": 0, "has_patch_keys": False}
    insert_missing(connection, schema.scan_status, [row], "id")
