"""Mail as it was accepted: read back, or set aside with the reason why it was not derived."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from ingest.model import Delivery
from ingest.store import schema
from ingest.store.inbox import codec as raw_form
from ingest.store.inbox.accept import delivery_of
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.sql import chunks, insert_rows, is_any
from ingest.trust.signatures.dns_answer import Keys


def read_deliveries(
    connection: Connection, mail_ids: Collection[int]
) -> Iterator[tuple[int, Delivery]]:
    """The mails with these ids, as they were accepted. Raises `DamagedRawError`."""
    for row, keys in _rows(connection, mail_ids):
        yield row.id, unpack_delivery(row, keys)


def read_undamaged(
    connection: Connection, mail_ids: Collection[int]
) -> Iterator[tuple[int, Delivery | None]]:
    """`read_deliveries`, with None for each mail whose bytes are damaged."""
    for row, keys in _rows(connection, mail_ids):
        try:
            yield row.id, unpack_delivery(row, keys)
        except raw_form.DamagedRawError:
            yield row.id, None


def _rows(connection: Connection, mail_ids: Collection[int]) -> Iterator[tuple[Any, Keys | None]]:
    """Whole rows of `mail`, each with what DNS said of its keys."""
    mail = schema.mail.c
    for some in chunks(sorted(mail_ids)):
        keys = read_keys(connection, some)
        for row in connection.execute(select(schema.mail).where(is_any(mail.id, some))).all():
            yield row, keys.get(row.id)


def unpack_delivery(row: Any, keys: Keys | None) -> Delivery:
    """`accept.delivery_of` a whole row of `mail`. Raises `DamagedRawError` too, where its bytes
    cannot be read any more.
    """
    return delivery_of(row, raw_form.unpack(row.codec, row.raw, row.sha256), keys)


def quarantine_mails(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Set mails aside that could not be derived: `reasons` by mail id."""
    pending = schema.pending.c
    for some in chunks(reasons):
        connection.execute(delete(schema.pending).where(is_any(pending.mail_id, some)))
    insert_rows(
        connection,
        schema.pending,
        [{"mail_id": mail_id, "tries": 1, "reason": reason} for mail_id, reason in reasons.items()],
    )


def mail_ids(connection: Connection) -> list[int]:
    """The ids of all mail, oldest row first."""
    return list(connection.execute(select(schema.mail.c.id).order_by(schema.mail.c.id)).scalars())
