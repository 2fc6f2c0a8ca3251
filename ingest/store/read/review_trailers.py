"""Read the trailers that reviewers gave in replies: who, where, and to what they apply.

A reply to a patch applies to that patch; a reply to the cover applies to every patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from ingest.mail.message import Address
from ingest.patch.trailers.trailer import Trailer
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.sql.key_lists import is_any


@dataclass(frozen=True, slots=True)
class ReviewTrailer:
    """A trailer from a reply.

    `parent_id`: the row of the patch or cover that it applies to. `reply_key`: the reply's key.
    `reviewer`: the sender of the reply.
    """

    trailer: Trailer
    parent_id: int
    reply_key: str
    reviewer: Address


def read_review_trailers(connection: Connection, parent_ids: Iterable[int]) -> list[ReviewTrailer]:
    """Return the trailers in replies to these patches and covers, the oldest reply first."""
    comment, message = schema.comment.c, schema.message.c
    query = (
        select(message.id, message.date, message.msgid)
        .join(schema.comment, comment.message_id == message.id)
        .join(schema.trailer, schema.trailer.c.message_id == message.id)
        .where(is_any(comment.parent_id, list(parent_ids)))
        .distinct()
    )
    replies = sorted(
        connection.execute(query), key=lambda row: (row.date is None, row.date, row.msgid)
    )
    trailers: list[ReviewTrailer] = []
    for reply in messages.read_messages(connection, [row.id for row in replies]):
        assert reply.parent_id is not None
        trailers += [
            ReviewTrailer(trailer, reply.parent_id, reply.key, reply.submitter)
            for trailer in reply.trailers
        ]
    return trailers
