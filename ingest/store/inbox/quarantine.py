"""The quarantine: accepted mail that could not be derived, kept whole, with the reason why.

These are the rows of `pending` that have a reason. Nothing takes them up by itself: somebody
asks for another try, or another delivery of the mail says more of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql import chunks


@frozen
class QuarantinedMail:
    """A mail in the quarantine, without its bytes."""

    mail_id: int
    sha256: bytes
    size: int
    accepted: datetime
    source: str
    tries: int
    reason: str


def move_to_quarantine(connection: Connection, reasons: Mapping[int, tuple[str, int]]) -> None:
    """Move waiting mail to the quarantine: reason and number of tries by id."""
    if reasons:
        connection.execute(
            update(schema.pending)
            .where(schema.pending.c.mail_id == bindparam("b_id"))
            .values(claimed_by=None, claimed_until=None),
            [
                {"b_id": mail_id, "reason": reason, "tries": tries}
                for mail_id, (reason, tries) in sorted(reasons.items())
            ],
        )


def list_quarantine(
    connection: Connection, mail_ids: Collection[int] | None = None
) -> list[QuarantinedMail]:
    """What is set aside, oldest first; with `mail_ids`, of these."""
    mail, pending = schema.mail.c, schema.pending.c
    query = (
        select(
            mail.id, mail.sha256, mail.size, mail.accepted, mail.source,
            pending.tries, pending.reason,
        )
        .join(schema.pending, pending.mail_id == mail.id)
        .where(pending.reason.is_not(None))
        .order_by(mail.id)
    )  # fmt: skip
    if mail_ids is None:
        rows = list(connection.execute(query))
    else:
        rows = []
        for some in chunks(sorted(mail_ids)):
            rows += connection.execute(query.where(mail.id.in_(some)))
    return [QuarantinedMail(row[0], bytes(row[1]), *row[2:]) for row in rows]


@frozen
class QueueLengths:
    """How many mails wait, and how many are set aside."""

    waiting: int
    set_aside: int


def queue_lengths(connection: Connection) -> QueueLengths:
    """How long the queue is, and the quarantine."""
    pending = schema.pending.c
    query = select(func.count(), func.count(pending.reason)).select_from(schema.pending)
    total, aside = connection.execute(query).one()
    return QueueLengths(total - aside, aside)
