"""Webhooks: events told to those who do not want to ask, signed, in order, until they hear it.

Each receiver gets a POST of JSON, `{"events": […]}`, with up to a hundred events in their order,
as `/api/events/` has them. `X-Ingest-Signature: sha256=HEX` is the HMAC of the body under the
configured secret. An answer of 2xx is a receipt; anything else is tried again, later each time,
up to an hour. How far each has heard is in the store: a receiver may hear an event twice where
we were killed between its answer and our commit (`id` tells), and never misses one.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, Row, func, insert, select, text, update

from ingest.api.happening import events
from ingest.api.site import Site
from ingest.config import ApiConfig, Config
from ingest.store import schema
from ingest.store.database import write_transaction

log = logging.getLogger(__name__)

SIGNATURE = "X-Ingest-Signature"
_AT_ONCE = 100
_PATIENCE = 10.0  # seconds for an answer
_LONGEST = timedelta(hours=1)
_LOCK = 0x696E67686F6F6B  # one process tells; see store.database


class Hooks:
    """The receivers that are configured."""

    def __init__(self, engine: Engine, configured: Callable[[], Config]) -> None:
        self._engine = engine
        self._configured = configured

    def tell(self, now: datetime, ending: threading.Event) -> None:
        """Tell each receiver that is due what it has not heard."""
        settings = self._configured().api or ApiConfig()
        for url in settings.webhooks:
            while not ending.is_set() and self._tell(url, settings, now):
                pass

    def _tell(self, url: str, settings: ApiConfig, now: datetime) -> bool:
        """Whether there may be more to tell at once.

        The call is made outside of a transaction, under a lock of the session, so that of
        several daemons one tells and none holds rows while it waits for a stranger.
        """
        with self._engine.connect() as held:
            if not _try_lock(held):
                return False
            try:
                return self._tell_alone(url, settings, now)
            finally:
                _unlock(held)

    def _tell_alone(self, url: str, settings: ApiConfig, now: datetime) -> bool:
        with write_transaction(self._engine) as connection:
            row = _receiver(connection, url, now)
            if row.due > now:
                return False
            event = schema.event.c
            query = select(event.number).where(event.number > row.number).order_by(event.number)
            numbers = list(connection.execute(query.limit(_AT_ONCE)).scalars())
            site = Site(settings.url or "http://localhost:8000", self._configured(), None)
            told = events(connection, numbers, site)
        if not numbers:
            return False
        assert settings.webhook_secret is not None  # the configuration holds it
        try:
            secret = settings.webhook_secret.read_bytes().strip()
            _post(url, json.dumps({"events": told}).encode(), secret)
        except (OSError, http.client.HTTPException) as error:
            wait = min(timedelta(seconds=2.0 ** min(row.failures, 12)), _LONGEST)
            log.warning("webhook at %s: %s; again in %s", urlsplit(url).netloc, error, wait)
            self._heard(url, row.number, failures=row.failures + 1, due=now + wait)
            return False
        self._heard(url, numbers[-1], failures=0, due=now)
        return len(numbers) == _AT_ONCE

    def _heard(self, url: str, number: int, *, failures: int, due: datetime) -> None:
        table = schema.hook
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(table)
                .where(table.c.url == url)
                .values(number=number, failures=failures, due=due)
            )


def sign(body: bytes, secret: bytes) -> str:
    """What the header holds; receivers compute it of the body and compare in constant time."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _receiver(connection: Connection, url: str, now: datetime) -> Row[Any]:
    """The receiver's row. A new one hears what happens from now on."""
    table = schema.hook
    row = connection.execute(select(table).where(table.c.url == url)).first()
    if row is None:
        last = select(func.coalesce(func.max(schema.event.c.number), 0)).scalar_subquery()
        connection.execute(insert(table).values(url=url, number=last, failures=0, due=now))
        row = connection.execute(select(table).where(table.c.url == url)).one()
    return row


def _post(url: str, body: bytes, secret: bytes) -> None:
    """Raises `OSError` or `HTTPException` for anything but 2xx. Redirects are not followed:
    what is signed is for who is configured."""
    headers = {"Content-Type": "application/json", SIGNATURE: sign(body, secret)}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - http(s), by setting.web_urls
    opener = urllib.request.build_opener(_NoRedirect())
    with opener.open(request, timeout=_PATIENCE) as answer:
        answer.read(1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _try_lock(connection: Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return True  # one daemon owns the file
    query = text("SELECT pg_try_advisory_lock(:lock)")
    return bool(connection.execute(query, {"lock": _LOCK}).scalar_one())


def _unlock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
