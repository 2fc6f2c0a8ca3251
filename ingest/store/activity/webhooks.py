"""Store how far each webhook receiver has confirmed the events, and claim its next attempt."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ingest.store import schema
from ingest.store.database.transactions import write_transaction


@dataclass(frozen=True, slots=True)
class WebhookProgress:
    """How far a receiver is.

    `number`: the last event that it confirmed. `failures`: attempts since then that failed. `due`:
    when the next attempt may begin, or when the claim on the present one runs out.
    """

    url: str
    number: int
    failures: int
    due: datetime


def read_webhook(connection: Connection, url: str) -> WebhookProgress | None:
    """Return how far a receiver is, None where it has not been added."""
    webhook = schema.webhook.c
    query = select(webhook.url, webhook.number, webhook.failures, webhook.due)
    row = connection.execute(query.where(webhook.url == url)).first()
    return WebhookProgress(*row) if row is not None else None


def add_webhook(engine: Engine, url: str, *, now: datetime) -> None:
    """Add a new receiver, which gets the events that are published from now on.

    Nothing is done where another daemon has added it.
    """
    last = select(func.coalesce(func.max(schema.event.c.number), 0)).scalar_subquery()
    with contextlib.suppress(IntegrityError), write_transaction(engine) as connection:
        connection.execute(insert(schema.webhook).values(url=url, number=last, failures=0, due=now))


def replace_webhook(engine: Engine, previous: WebhookProgress, progress: WebhookProgress) -> bool:
    """Store how far a receiver is now. Return whether it was done.

    It is not done where another daemon has changed the row since `previous` was read or written.
    """
    webhook = schema.webhook.c
    with write_transaction(engine) as connection:
        result = connection.execute(
            update(schema.webhook)
            .where(
                webhook.url == previous.url,
                webhook.number == previous.number,
                webhook.due == previous.due,
            )
            .values(number=progress.number, failures=progress.failures, due=progress.due)
        )
    return result.rowcount == 1


def last_event(connection: Connection) -> int:
    """Return the number of the newest published event, 0 where there is none."""
    return connection.execute(select(func.max(schema.event.c.number))).scalar() or 0


def find_later_events(connection: Connection, number: int, *, limit: int) -> list[int]:
    """Return the numbers of the first `limit` published events after the one with `number`."""
    event = schema.event.c
    query = select(event.number).where(event.number > number).order_by(event.number)
    return list(connection.execute(query.limit(limit)).scalars())
