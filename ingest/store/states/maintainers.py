"""Keep the MAINTAINERS files of lists, and whom they name for each patch.

A scan stores the file of a list with `write_file` and then corrects all patches of the list, batch
by batch. Patches that are stored meanwhile get the maintainers of the new file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, text, update

from ingest.lifecycle.delegation import Maintainers, load_sections
from ingest.patch.diffs.diff import find_diff
from ingest.store import schema
from ingest.store.locks import lock_states
from ingest.store.read.messages import read_list_names
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any


def read_digests(connection: Connection) -> dict[str, str]:
    """Return the digest of what is stored of each list's file, '' where it has none any more."""
    return {row.list_id: row.digest for row in connection.execute(_DIGESTS)}


_DIGESTS = select(schema.maintainers_file.c.list_id, schema.maintainers_file.c.digest)


def compute_digest(sections: str) -> str:
    """Return the digest of sections as `dump_sections` wrote them."""
    return hashlib.sha256(sections.encode()).hexdigest() if sections else ""


def read_unassigned_lists(connection: Connection) -> set[str]:
    """Return the lists whose patches may still have the maintainers of an earlier file."""
    table = schema.maintainers_file.c
    query = select(table.list_id).where(table.assigned.is_(False))
    return set(connection.execute(query).scalars())


def write_file(connection: Connection, list_id: str, sections: str) -> None:
    """Store the file of a list. '' means that it has none any more."""
    table = schema.maintainers_file
    if connection.dialect.name == "postgresql":
        # Transactions that store patches, and that do not know of this file yet, end first.
        connection.execute(text("LOCK TABLE patch IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(delete(table).where(table.c.list_id == list_id))
    row = {
        "list_id": list_id,
        "digest": compute_digest(sections),
        "sections": sections,
        "assigned": False,
    }
    insert_rows(connection, table, [row])


def finish_file(connection: Connection, list_id: str) -> None:
    """Store that all patches of a list have the maintainers of its file."""
    table = schema.maintainers_file
    is_own = table.c.list_id == list_id
    connection.execute(delete(table).where(is_own, table.c.sections == ""))
    connection.execute(update(table).where(is_own).values(assigned=True))


def find_next_patches(connection: Connection, list_id: str, *, after: int, count: int) -> list[int]:
    """Return the next patches of a mailing list, by id, after the patch with the id `after`."""
    patch, posting, list_ = schema.patch.c, schema.posting.c, schema.list_.c
    query = (
        select(patch.message_id)
        .distinct()
        .select_from(
            schema.list_.join(schema.posting, posting.list_id == list_.id).join(
                schema.patch, patch.message_id == posting.message_id
            )
        )
        .where(list_.list_id == list_id, posting.message_id > after)
        .order_by(patch.message_id)
        .limit(count)
    )
    return list(connection.execute(query).scalars())


def lock_maintainers(connection: Connection, stored: Collection[int]) -> bool:
    """Lock all states if messages that are `stored` already may be assigned to others.

    Take this lock where `lock_states` is taken. Returns whether it was.
    """
    if connection.dialect.name != "postgresql" or not stored or not read_digests(connection):
        return False
    lock_states(connection)
    return True


def assign_maintainers(connection: Connection, message_ids: Iterable[int]) -> set[int]:
    """Write whom the files name for these messages, where they are patches.

    Returns the patches for which that has changed, for `sync_states`.
    """
    files = read_digests(connection)
    if not files:
        return set()
    changed = _find_changes(connection, message_ids, files)
    if changed:
        is_own = schema.patch.c.message_id == bindparam("b_id")
        rows = [{"b_id": number, "maintainers": names} for number, names in changed.items()]
        connection.execute(update(schema.patch).where(is_own), rows)
    return set(changed)


def find_wrong_maintainers(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Return those of the patches that do not have the maintainers whom the files name."""
    return set(_find_changes(connection, message_ids, read_digests(connection)))


def _find_changes(
    connection: Connection, message_ids: Iterable[int], files: Mapping[str, str]
) -> dict[int, str | None]:
    """Return what the column `maintainers` should be, for those patches in which it is not."""
    changes: dict[int, str | None] = {}
    for chunk in chunks(sorted(set(message_ids))):
        wanted = _find_maintainers(connection, chunk, files)
        for row in _read_patches(connection, chunk):
            if row.maintainers != wanted[row.message_id]:
                changes[row.message_id] = wanted[row.message_id]
    return changes


def _read_patches(connection: Connection, message_ids: Collection[int]) -> list[Any]:
    patch = schema.patch.c
    query = select(patch.message_id, patch.maintainers).where(is_any(patch.message_id, message_ids))
    return list(connection.execute(query))


def _find_maintainers(
    connection: Connection, message_ids: Collection[int], files: Mapping[str, str]
) -> dict[int, str | None]:
    """Return the column `maintainers` of patches as it should be, by message."""
    lists = read_list_names(connection, message_ids) if files else {}
    wanted: dict[int, str | None] = dict.fromkeys(message_ids)
    own = {
        message_id: [list_id for list_id in sorted(list_ids) if files.get(list_id)]
        for message_id, list_ids in lists.items()
    }
    body = schema.body.c
    query = select(body.message_id, body.diff).where(body.diff.is_not(None))
    for chunk in chunks(message_id for message_id, sections in own.items() if sections):
        for row in connection.execute(query.where(is_any(body.message_id, chunk))):
            split = find_diff(row.diff)
            names = split.files if split is not None else ()
            found = [
                email
                for list_id in own[row.message_id]
                for email in _load(connection, list_id, files[list_id]).find(names)
            ]
            wanted[row.message_id] = schema.storable("\n".join(dict.fromkeys(found))) or None
    return wanted


# The files that this process has read, by digest. Values are never changed.
_loaded: dict[str, Maintainers] = {}
_MAX_LOADED = 20


def _load(connection: Connection, list_id: str, digest: str) -> Maintainers:
    """Return the file of a list, which had that digest."""
    loaded = _loaded.get(digest)  # another thread may clear the cache
    if loaded is None:
        table = schema.maintainers_file.c
        query = select(table.sections).where(table.list_id == list_id)
        sections = connection.execute(query).scalar_one()
        loaded = Maintainers(load_sections(sections))
        if len(_loaded) >= _MAX_LOADED:
            _loaded.clear()
        _loaded[compute_digest(sections)] = loaded
    return loaded
