"""The trailers that reviewers gave: who, where, and to what they apply.

A reply to a patch speaks to that patch; a reply to the cover speaks to every patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from ingest.mail.message import Address
from ingest.patch.trailer import Trailer
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.sql import is_any


@dataclass(frozen=True, slots=True)
class ReplyTrailer:
    """`to`: the row of the patch or cover that it was given to; `where`: the reply's key."""

    trailer: Trailer
    to: int
    where: str
    by: Address


def trailers_from_replies(connection: Connection, message_ids: Iterable[int]) -> list[ReplyTrailer]:
    """The trailers in replies to these patches and covers, the oldest reply first."""
    comment, message = schema.comment.c, schema.message.c
    query = (
        select(message.id, message.date, message.msgid)
        .join(schema.comment, comment.message_id == message.id)
        .join(schema.trailer, schema.trailer.c.message_id == message.id)
        .where(is_any(comment.parent_id, list(message_ids)))
        .distinct()
    )
    replies = sorted(
        connection.execute(query), key=lambda row: (row.date is None, row.date, row.msgid)
    )
    found = []
    for reply in messages.read_messages(connection, [row.id for row in replies]):
        assert reply.parent_id is not None
        found += [
            ReplyTrailer(one, reply.parent_id, reply.key, reply.submitter) for one in reply.trailers
        ]
    return found
