"""Store whether people have dealt with comments."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any


def mark_comment(
    connection: Connection,
    message_id: int,
    addressed: bool | None,
    *,
    account_id: int | None,
    now: datetime | None,
) -> None:
    """Mark a comment as addressed or not; None removes the mark."""
    table = schema.comment_mark
    connection.execute(delete(table).where(table.c.message_id == message_id))
    if addressed is not None:
        connection.execute(
            insert(table).values(
                message_id=message_id, addressed=addressed, account_id=account_id, date=now
            )
        )


def read_comment_marks(connection: Connection, message_ids: Iterable[int]) -> dict[int, bool]:
    """Return which of these comments are addressed. Comments without a mark are missing."""
    table = schema.comment_mark.c
    marks: dict[int, bool] = {}
    for chunk in chunks(message_ids):
        query = select(table.message_id, table.addressed).where(is_any(table.message_id, chunk))
        marks.update((row.message_id, bool(row.addressed)) for row in connection.execute(query))
    return marks
