"""Index what commits and patches may have in common, as hashes of 63 bits.

A commit and a patch that share no key cannot match; `lifecycle.landing` decides about the others.
Equal hashes of different texts do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection, Table, func, select

from ingest.lifecycle.commit import CommitFacts
from ingest.lifecycle.landing import PatchFacts, normalise_commit_title
from ingest.series.facts import digest63
from ingest.store.sql.key_lists import read_values

# A key that more patches, or more commits, have says nothing about them ("Update ChangeLog"), and
# is left out: a sender of the same patch a thousand times would make each of them cost a thousand.
MAX_PER_KEY = 200


def commit_keys(commit: CommitFacts) -> set[int]:
    """Return the keys of a commit."""
    keys = {_msgid_key(link) for link in commit.links}
    keys.update(patch_id_key(value) for value in commit.other_patch_ids)
    return keys | _common_keys(commit.patch_id, commit.author_date, commit.title)


def patch_keys(patch: PatchFacts) -> set[int]:
    """Return the keys of a patch."""
    keys = {_msgid_key(msgid) for msgid in patch.ids}
    return keys | _common_keys(patch.patch_id, patch.date, patch.title)


def _common_keys(patch_id: str | None, date: datetime | None, title: str) -> set[int]:
    keys = set()
    if patch_id is not None:
        keys.add(patch_id_key(patch_id))
    if date is not None:
        keys.add(digest63(f"date\0{date.isoformat()}"))
    if title := normalise_commit_title(title):
        keys.add(digest63(f"title\0{title}"))
    return keys


def patch_id_key(patch_id: str) -> int:
    """Return the key of a patch-id."""
    return digest63(f"patch-id\0{patch_id}")


def _msgid_key(msgid: str) -> int:
    return digest63(f"message-id\0{msgid}")


def find_overfull_keys(connection: Connection, table: Table, keys: Collection[int]) -> set[int]:
    """Return those of the keys that more rows of `commit_key` or `patch_key` have than count."""
    query = select(table.c.key).group_by(table.c.key).having(func.count() > MAX_PER_KEY)
    return read_values(connection, query, table.c.key, keys)


def read_commit_keys(
    connection: Connection, table: Table, column: str, ids: Iterable[int]
) -> set[int]:
    """Return the keys that these commits, or patches, have in the table."""
    return read_values(connection, select(table.c.key), table.c[column], ids)
