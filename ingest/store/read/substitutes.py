"""Find the messages of which the raw mail is not available: their mail was made from Patchwork."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from ingest.model import SUBSTITUTE_RANK
from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any

# For people, and in the export.
NOT_AVAILABLE = "imported, raw mail not available"


def find_substitutes(
    connection: Connection, message_ids: Iterable[int] | None = None
) -> set[tuple[str, str]]:
    """Return those of these messages, or of all, by Message-ID and variant."""
    message, copy = schema.message.c, schema.copy.c
    query = (
        select(message.msgid, message.variant)
        .join(schema.copy, copy.mail_id == message.mail_id)
        .where(copy.rank >= SUBSTITUTE_RANK)
    )
    if message_ids is None:
        return {(row.msgid, row.variant) for row in connection.execute(query)}
    found: set[tuple[str, str]] = set()
    for chunk in chunks(message_ids):
        rows = connection.execute(query.where(is_any(message.id, chunk)))
        found.update((row.msgid, row.variant) for row in rows)
    return found
