"""Webhooks: POST events to the configured receivers, signed, in order, until each confirms them.

Each receiver gets a POST of JSON, `{"events": […]}`, with up to a hundred events in their order,
as `/api/events/` has them. `X-Ingest-Signature: sha256=HEX` is the HMAC of the body under the
configured secret. An answer of 2xx is a receipt; anything else is tried again, later each time,
up to an hour.

Each receiver has a thread and a place in the events of its own, so that one that is slow delays
no other. An attempt has one deadline for all of it: a time limit for each read would let a
receiver that sends a byte now and then hold its connection for ever. The attempt runs in an event
loop because it can be cancelled there at any point, which a blocking call cannot.

The place of each receiver is in the store. It may get an event twice where we were killed between
its answer and our commit (`id` tells), and never misses one. An attempt is claimed in the store
before it begins, so that of several daemons one makes it; no connection to the database is held
meanwhile. What a killed daemon had claimed is tried again when the claim runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ingest.api.event_payloads import event_payloads
from ingest.api.urls import UrlBuilder
from ingest.clock import utcnow
from ingest.config.file import ApiConfig, Config
from ingest.store import schema
from ingest.store.engine import write_transaction

log = logging.getLogger(__name__)

SIGNATURE = "X-Ingest-Signature"
_AT_ONCE = 100
_PATIENCE = 10.0  # seconds for a whole attempt: connect, send and answer
_CLAIM = 20.0  # seconds that a claim outlasts the attempt: clocks of two machines differ
_LONGEST = timedelta(hours=1)
_TICK = 1.0  # seconds between two looks for what is new
_LET_GO = 1.0  # seconds in which the threads end
_GLANCE = 0.1  # seconds between two looks, in an attempt, whether it is to end


class Webhooks:
    """The receivers that are configured, each followed by a thread of its own.

    `clock`: the time, in UTC; `patience`: seconds for a whole attempt.
    """

    def __init__(
        self,
        engine: Engine,
        configured: Callable[[], Config],
        *,
        clock: Callable[[], datetime] = utcnow,
        patience: float = _PATIENCE,
    ) -> None:
        self._engine = engine
        self._configured = configured
        self._clock = clock
        self._patience = patience

    def run(self, ending: threading.Event) -> None:
        """Follow the configured receivers until `ending`, then end within a second or so.

        Raises `RuntimeError` where the thread of a receiver has died: of an internal error.
        """
        threads: dict[str, _Thread] = {}
        try:
            while not ending.wait(_TICK):
                urls = set((self._configured().api or ApiConfig()).webhooks)
                for url in threads.keys() - urls:
                    threads.pop(url).stop.set()
                for url in urls - threads.keys():
                    threads[url] = self._start(url)
                for url, one in threads.items():
                    if not one.thread.is_alive():
                        raise RuntimeError(f"the thread of the webhook at {_shown(url)} has died")
        finally:
            for one in threads.values():
                one.stop.set()
            end = time.monotonic() + _LET_GO
            for one in threads.values():
                # A thread that still waits for the database is left behind: it is a daemon.
                one.thread.join(max(0.0, end - time.monotonic()))

    def _start(self, url: str) -> _Thread:
        stop = threading.Event()
        name = f"api-hook {_shown(url)}"
        thread = threading.Thread(target=self._follow, args=(url, stop), name=name, daemon=True)
        thread.start()
        return _Thread(thread, stop)

    def _follow(self, url: str, stop: threading.Event) -> None:
        while True:
            try:
                while not stop.is_set() and self.tell(url, stop):
                    pass
            except SQLAlchemyError as error:
                # The database is away: the events wait there.
                log.warning(
                    "events wait for the webhook at %s: %s", _shown(url), error.__class__.__name__
                )
            if stop.wait(_TICK):
                return

    def tell(self, url: str, stop: threading.Event) -> bool:
        """Post the next events to this receiver, if it is due. Return whether there may be more.

        `stop` ends the attempt; it is made again at the next start.
        """
        config = self._configured()
        settings = config.api or ApiConfig()
        now = self._clock()
        with self._engine.connect() as connection:
            row = _receiver(connection, url)
            if row is not None and row.due > now:
                return False
            numbers = _next(connection, row.number) if row is not None else []
            site = UrlBuilder(settings.url or "http://localhost:8000", config, None)
            said = event_payloads(connection, numbers, site) if numbers else []
        if row is None:
            self._add(url, now)
            return False
        if not numbers:
            return False
        claim = now + timedelta(seconds=self._patience + _CLAIM)
        if not self._settle(row, row.due, number=row.number, failures=row.failures, due=claim):
            return False  # another daemon makes this attempt
        try:
            body = json.dumps({"events": said}).encode()
            assert settings.webhook_secret is not None  # the configuration holds it
            secret = settings.webhook_secret.read_bytes().strip()
            status = _post(url, body, secret, stop=stop, patience=self._patience)
            error = None if status is None or 200 <= status < 300 else f"status {status}"
        except TimeoutError:
            status, error = 0, f"no answer within {self._patience:g} s"
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as failure:
            status, error = 0, str(failure) or failure.__class__.__name__
        if status is None:
            self._settle(row, claim, number=row.number, failures=row.failures, due=row.due)
            return False
        if error is not None:
            wait = min(timedelta(seconds=2.0 ** min(row.failures, 12)), _LONGEST)
            log.warning("webhook at %s: %s; again in %s", _shown(url), error, wait)
            due = self._clock() + wait
            self._settle(row, claim, number=row.number, failures=row.failures + 1, due=due)
            return False
        self._settle(row, claim, number=numbers[-1], failures=0, due=now)
        return len(numbers) == _AT_ONCE

    def _add(self, url: str, now: datetime) -> None:
        """Add a new receiver. It gets what happens from now on."""
        last = select(func.coalesce(func.max(schema.event.c.number), 0)).scalar_subquery()
        with (
            contextlib.suppress(IntegrityError),  # another daemon has added it
            write_transaction(self._engine) as connection,
        ):
            connection.execute(
                insert(schema.webhook).values(url=url, number=last, failures=0, due=now)
            )

    def _settle(
        self, row: Row[Any], claimed: datetime, *, number: int, failures: int, due: datetime
    ) -> bool:
        """Store a receiver's place, unless another daemon has changed it since `claimed`."""
        table = schema.webhook
        with write_transaction(self._engine) as connection:
            done = connection.execute(
                update(table)
                .where(table.c.url == row.url, table.c.number == row.number, table.c.due == claimed)
                .values(number=number, failures=failures, due=due)
            )
        return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class _Thread:
    """`stop` ends it."""

    thread: threading.Thread
    stop: threading.Event


def sign(body: bytes, secret: bytes) -> str:
    """What the header holds; receivers compute it of the body and compare in constant time."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _shown(url: str) -> str:
    """Return the host of a URL for the log, without the password that may be in front of it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _receiver(connection: Connection, url: str) -> Row[Any] | None:
    table = schema.webhook
    return connection.execute(select(table).where(table.c.url == url)).first()


def _next(connection: Connection, number: int) -> list[int]:
    event = schema.event.c
    query = select(event.number).where(event.number > number).order_by(event.number)
    return list(connection.execute(query.limit(_AT_ONCE)).scalars())


def _post(
    url: str, body: bytes, secret: bytes, *, stop: threading.Event, patience: float
) -> int | None:
    """Post and return the status, or None where `stop` ended the attempt.

    Raises `OSError` (`TimeoutError` at the deadline), `httpx.HTTPError` or `httpx.InvalidURL`.
    """

    async def attempt() -> int:
        async with asyncio.timeout(patience):
            return await _send(url, body, secret)

    async def watched() -> int | None:
        task = asyncio.ensure_future(attempt())
        while not task.done():
            if stop.is_set():
                task.cancel()
            await asyncio.wait({task}, timeout=_GLANCE)
        return None if task.cancelled() else task.result()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(watched())


async def _send(url: str, body: bytes, secret: bytes) -> int:
    """Redirects are not followed: what is signed is for who is configured. No proxy of the
    environment is used, and the answer's body is not read.
    """
    headers = {"Content-Type": "application/json", SIGNATURE: sign(body, secret)}
    # The certificates that the system trusts, among them those of the site itself.
    trusted = ssl.create_default_context()
    async with (
        httpx.AsyncClient(verify=trusted, trust_env=False, timeout=None) as client,  # noqa: S113 - the caller has one for all of it
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        return answer.status_code


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that looks names up in a daemon thread.

    Asyncio's own way is a thread pool, which is waited for when the loop ends and again when the
    process does: a silent name server would delay both beyond any deadline.
    """

    async def getaddrinfo(self, host: Any, port: Any, **more: int) -> Any:
        found: asyncio.Future[Any] = self.create_future()

        def set_result(addresses: Any, error: OSError | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(addresses)

        def look_up() -> None:
            outcome: tuple[Any, OSError | None]
            try:
                outcome = (socket.getaddrinfo(host, port, **more), None)
            except OSError as error:
                outcome = (None, error)
            except UnicodeError as error:  # a label that is too long
                outcome = (None, OSError(f"{host!r} is no host name: {error}"))
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.call_soon_threadsafe(set_result, *outcome)

        threading.Thread(target=look_up, name="api-hook-name", daemon=True).start()
        return await found
