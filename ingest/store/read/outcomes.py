"""Read the outcome of each message, and the mail that has none yet."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.site.list_records import is_list_record
from ingest.store.sql.collation import stream_sorted


@frozen
class OutcomeRow:
    """A message with its outcome and the reason for it."""

    msgid: str
    variant: str
    outcome: Outcome
    reason: str


@frozen
class UnderivedMail:
    """A mail in the queue. `reason` is why it is quarantined, or None if it is not."""

    sha256: bytes
    reason: str | None


def stream_outcomes(connection: Connection) -> Iterator[OutcomeRow]:
    """Yield the outcomes of all messages, sorted by Message-ID and variant."""
    message = schema.message.c
    query = select(message.msgid, message.variant, message.outcome, message.reason)
    query = query.where(~is_list_record(message.variant))
    for rows in stream_sorted(connection, query, message.msgid, message.variant):
        for row in rows:
            yield OutcomeRow(row.msgid, row.variant, Outcome(row.outcome), row.reason)


def read_underived(connection: Connection) -> list[UnderivedMail]:
    """Return the mails in the queue, quarantined or not, sorted by digest."""
    mail, pending = schema.mail.c, schema.pending.c
    query = select(mail.sha256, pending.reason).join(schema.pending, pending.mail_id == mail.id)
    rows = [UnderivedMail(bytes(row.sha256), row.reason) for row in connection.execute(query)]
    return sorted(rows, key=lambda row: row.sha256)
