"""Messages as they are mentioned in other records: which, called what, sent when and where.

Two queries for any number of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, func, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.messages import ListRow
from ingest.store.sql import chunks


@frozen
class MessageSummary:
    """`name`: a patch's or a cover's, None for other messages."""

    id: int
    msgid: str
    variant: str
    date: datetime | None
    mail_id: int
    outcome: str
    name: str | None
    lists: tuple[ListRow, ...]


def read_summaries(connection: Connection, ids: Iterable[int]) -> dict[int, MessageSummary]:
    """The messages with these ids."""
    message, patch, cover = schema.message.c, schema.patch, schema.cover
    query = select(
        message.id,
        message.msgid,
        message.variant,
        message.date,
        message.mail_id,
        message.outcome,
        func.coalesce(patch.c.name, cover.c.name).label("name"),
    ).select_from(
        schema.message.outerjoin(patch, patch.c.message_id == message.id).outerjoin(
            cover, cover.c.message_id == message.id
        )
    )
    found: dict[int, MessageSummary] = {}
    for some in chunks(set(ids)):
        lists = messages.read_lists(connection, some)
        for row in connection.execute(query.where(message.id.in_(some))):
            found[row.id] = MessageSummary(*row, tuple(lists.get(row.id, ())))
    return found


def read_accepted_times(connection: Connection, mail_ids: Iterable[int]) -> dict[int, datetime]:
    """When mails came: the only time that an undated one has."""
    mail = schema.mail.c
    found: dict[int, datetime] = {}
    for some in chunks(mail_ids):
        query = select(mail.id, mail.accepted).where(mail.id.in_(some))
        found |= {row.id: row.accepted for row in connection.execute(query)}
    return found
