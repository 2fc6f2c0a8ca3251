"""Keep accepted mail that could not be derived, whole and with the reason: the quarantine.

It consists of the rows of `pending` that have a reason. Such mail is only tried again when an
operator requests it, or when another delivery of the mail adds to what is known of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql.key_lists import chunks
from ingest.store.sql.planner_hints import InOrder


@frozen
class QuarantinedMail:
    """A mail in the quarantine, without its bytes. `size`: in bytes; `accepted`: naive UTC."""

    mail_id: int
    sha256: bytes
    size: int
    accepted: datetime
    source: str
    tries: int
    reason: str


def move_to_quarantine(connection: Connection, reasons: Mapping[int, tuple[str, int]]) -> None:
    """Move waiting mail to the quarantine: reason and number of tries by mail id."""
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
    """Return the quarantined mails, oldest first; with `mail_ids`, only those among them."""
    mail, pending = schema.mail.c, schema.pending.c
    query = (
        select(
            mail.id, mail.sha256, mail.size, mail.accepted, mail.source,
            pending.tries, pending.reason,
        )
        # Mail is read by its key: there may be a million, and none in the quarantine.
        .select_from(InOrder(schema.pending, schema.mail, mail.id == pending.mail_id))
        .where(pending.reason.is_not(None))
        .order_by(pending.mail_id)
    )  # fmt: skip
    if mail_ids is None:
        rows = list(connection.execute(query))
    else:
        rows = []
        for chunk in chunks(sorted(mail_ids)):
            rows += connection.execute(query.where(pending.mail_id.in_(chunk)))
    return [QuarantinedMail(row[0], bytes(row[1]), *row[2:]) for row in rows]


@frozen
class QueueLengths:
    """The number of mails that wait to be derived, and of those in the quarantine."""

    waiting: int
    quarantined: int


def queue_lengths(connection: Connection) -> QueueLengths:
    """Return the lengths of the queue and of the quarantine."""
    pending = schema.pending.c
    query = select(func.count(), func.count(pending.reason)).select_from(schema.pending)
    total, quarantined = connection.execute(query).one()
    return QueueLengths(total - quarantined, quarantined)
