"""Count the people who gave trailers to patches, for lists of patches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import Connection, select

from ingest.store import schema
from ingest.store.sql.key_lists import is_any
from ingest.trust.person import person_key


def count_reviewers(
    connection: Connection, parent_ids: Collection[int], keys: Collection[str]
) -> dict[int, Counter[str]]:
    """Return how many people gave trailers with these keys to patches and covers, by trailer.

    They gave them in replies, or the sender noted them. A person is counted once for each trailer.
    """
    trailer, comment = schema.trailer.c, schema.comment.c
    ids = list(parent_ids)
    own = select(trailer.message_id.label("parent"), trailer.key, trailer.value).where(
        is_any(trailer.message_id, ids), trailer.key.in_(keys)
    )
    given = (
        select(comment.parent_id.label("parent"), trailer.key, trailer.value)
        .join(schema.trailer, trailer.message_id == comment.message_id)
        .where(is_any(comment.parent_id, ids), trailer.key.in_(keys))
    )
    seen = {
        (row.parent, row.key, _reviewer_key(row.value))
        for query in (own, given)
        for row in connection.execute(query)
    }
    counts: dict[int, Counter[str]] = {}
    for parent, key, _ in seen:
        counts.setdefault(parent, Counter())[key] += 1
    return counts


def _reviewer_key(value: str) -> str:
    """Return what a person is recognised by: the address, else the name."""
    _, bracket, address = value.rpartition("<")
    return person_key(address.partition(">")[0]) if bracket else value.casefold()
