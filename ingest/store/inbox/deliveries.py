"""Read mail as it was accepted, and quarantine mail that could not be derived."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from ingest.model import Delivery
from ingest.store import schema
from ingest.store.inbox.accept import build_delivery
from ingest.store.inbox.codec import DamagedRawError, unpack
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.trust.signatures.dns_answer import Keys


def read_deliveries(
    connection: Connection, mail_ids: Collection[int]
) -> Iterator[tuple[int, Delivery]]:
    """Yield the mails with these ids, as they were accepted. Raises `DamagedRawError`."""
    for row, keys in _read_rows(connection, mail_ids):
        yield row.id, unpack_delivery(row, keys)


def read_undamaged(
    connection: Connection, mail_ids: Collection[int]
) -> Iterator[tuple[int, Delivery | None]]:
    """Yield mails as `read_deliveries` does, and None for each mail whose bytes are damaged."""
    for row, keys in _read_rows(connection, mail_ids):
        try:
            yield row.id, unpack_delivery(row, keys)
        except DamagedRawError:
            yield row.id, None


def _read_rows(
    connection: Connection, mail_ids: Collection[int]
) -> Iterator[tuple[Any, Keys | None]]:
    """Read whole rows of `mail`, each with the DNS answers about its keys."""
    mail = schema.mail.c
    for chunk in chunks(sorted(mail_ids)):
        keys = read_keys(connection, chunk)
        for row in connection.execute(select(schema.mail).where(is_any(mail.id, chunk))).all():
            yield row, keys.get(row.id)


def unpack_delivery(row: Any, keys: Keys | None) -> Delivery:
    """Build the delivery of a whole row of `mail`, with the DNS answers about its keys.

    Raises `ValueError` as `accept.build_delivery` does, and `DamagedRawError`.
    """
    return build_delivery(row, unpack(row.codec, row.raw, row.sha256), keys)


def quarantine_mails(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Quarantine mails that could not be derived: `reasons` by mail id."""
    pending = schema.pending.c
    for chunk in chunks(reasons):
        connection.execute(delete(schema.pending).where(is_any(pending.mail_id, chunk)))
    insert_rows(
        connection,
        schema.pending,
        [{"mail_id": mail_id, "tries": 1, "reason": reason} for mail_id, reason in reasons.items()],
    )


def list_mail_ids(connection: Connection) -> list[int]:
    """Return the ids of all mail, the oldest row first."""
    return list(connection.execute(select(schema.mail.c.id).order_by(schema.mail.c.id)).scalars())
