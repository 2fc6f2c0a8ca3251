"""Read summaries of messages, for records that mention them.

Two queries serve any number of messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, func, select

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.messages import ListRow
from ingest.store.sql.key_lists import chunks


@frozen
class MessageSummary:
    """A message in short. `name` is that of a patch or a cover, and None for other messages."""

    id: int
    msgid: str
    variant: str
    date: datetime | None
    mail_id: int
    outcome: Outcome
    name: str | None
    lists: tuple[ListRow, ...]


def read_summaries(connection: Connection, ids: Iterable[int]) -> dict[int, MessageSummary]:
    """Return summaries of the messages with these ids, by id."""
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
    summaries: dict[int, MessageSummary] = {}
    for chunk in chunks(set(ids)):
        lists = messages.read_lists(connection, chunk)
        for row in connection.execute(query.where(message.id.in_(chunk))):
            summaries[row.id] = MessageSummary(
                id=row.id,
                msgid=row.msgid,
                variant=row.variant,
                date=row.date,
                mail_id=row.mail_id,
                outcome=Outcome(row.outcome),
                name=row.name,
                lists=tuple(lists.get(row.id, ())),
            )
    return summaries


def read_accepted_times(connection: Connection, mail_ids: Iterable[int]) -> dict[int, datetime]:
    """Return when mails were accepted, by mail id: the only time of a mail without a date."""
    mail = schema.mail.c
    times: dict[int, datetime] = {}
    for chunk in chunks(mail_ids):
        query = select(mail.id, mail.accepted).where(mail.id.in_(chunk))
        times |= {row.id: row.accepted for row in connection.execute(query)}
    return times
