"""Webhooks: POST events to the configured receivers, signed, in order, until each confirms them.

Each receiver gets a POST of JSON, `{"events": […]}`, with up to a hundred events in their order, in
the form of `/api/events/`. `X-Ingest-Signature: sha256=HEX` is the HMAC of the body under the
configured secret. A 2xx response confirms the events. After any other outcome the attempt is
repeated, with a delay that doubles up to an hour.

A receiver of `event_webhooks` gets a POST for each event, as Patchwork's successor sends it: the
body is the event, `X-Patchwork-Event` its category, `X-Patchwork-Signature` the same HMAC, and
`X-Patchwork-Delivery` an id that is the same when the event is sent again.

Each receiver has its own thread and its own position in the events, so that a slow one delays no
other. `post` makes one attempt.

The position of each receiver is in the store. A receiver may get an event twice if the process was
killed between its response and our commit (`id` shows that), and never misses one. An attempt is
claimed in the store before it begins, so that only one of several daemons makes it; no connection
to the database is held meanwhile. An attempt that a killed daemon had claimed is repeated when the
claim runs out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.api.records.event_payloads import event_payloads
from ingest.api.records.references import JsonObject
from ingest.api.urls import UrlBuilder
from ingest.clock import utcnow
from ingest.config.settings import ApiConfig, Config
from ingest.store.activity.webhooks import (
    WebhookProgress,
    add_webhook,
    find_later_events,
    read_webhook,
    replace_webhook,
)

log = logging.getLogger(__name__)

SIGNATURE = "X-Ingest-Signature"
EVENT, DELIVERY = "X-Patchwork-Event", "X-Patchwork-Delivery"
EVENT_SIGNATURE = "X-Patchwork-Signature"
_BATCH = 100  # events in one POST
_DELIVERIES = UUID("0f6a4a5e-5d0f-4b0c-9b0a-7c1d3e2f4a5b")  # the namespace of their ids
_ATTEMPT_SECONDS = 10.0  # for a whole attempt: connect, send and receive the response
_CLAIM_SECONDS = 20.0  # that a claim outlasts the attempt: clocks of two machines differ
_MAX_DELAY = timedelta(hours=1)
_POLL_SECONDS = 1.0  # between two looks for new events
_STOP_SECONDS = 1.0  # for the threads to end


class Webhooks:
    """Posts events to the configured receivers, each in a thread of its own.

    `clock` returns the time in UTC; `patience` is the limit of a whole attempt, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        get_config: Callable[[], Config],
        *,
        clock: Callable[[], datetime] = utcnow,
        patience: float = _ATTEMPT_SECONDS,
    ) -> None:
        self._engine = engine
        self._get_config = get_config
        self._clock = clock
        self._patience = patience

    def run(self, stop_event: threading.Event) -> None:
        """Serve the configured receivers until `stop_event`, then end within a second or so.

        Raises `RuntimeError` where the thread of a receiver has died, which is an internal error.
        """
        threads: dict[str, _ReceiverThread] = {}
        try:
            while not stop_event.wait(_POLL_SECONDS):
                settings = self._get_config().api or ApiConfig()
                urls = {*settings.webhooks, *settings.event_webhooks}
                for url in threads.keys() - urls:
                    threads.pop(url).stop.set()
                for url in urls - threads.keys():
                    threads[url] = self._start_thread(url)
                for url, receiver in threads.items():
                    if not receiver.thread.is_alive():
                        host = _host_of(url)
                        raise RuntimeError(f"the thread of the webhook at {host} has died")
        finally:
            for receiver in threads.values():
                receiver.stop.set()
            deadline = time.monotonic() + _STOP_SECONDS
            for receiver in threads.values():
                # A thread that still waits for the database is abandoned: it is a daemon thread.
                receiver.thread.join(max(0.0, deadline - time.monotonic()))

    def _start_thread(self, url: str) -> _ReceiverThread:
        stop = threading.Event()
        name = f"api-hook {_host_of(url)}"
        thread = threading.Thread(target=self._follow, args=(url, stop), name=name, daemon=True)
        thread.start()
        return _ReceiverThread(thread, stop)

    def _follow(self, url: str, stop: threading.Event) -> None:
        while True:
            try:
                while not stop.is_set() and self.post_next_events(url, stop):
                    pass
            except SQLAlchemyError as error:
                # The database does not answer: the events are stored there, and can wait.
                log.warning(
                    "events wait for the webhook at %s: %s", _host_of(url), error.__class__.__name__
                )
            if stop.wait(_POLL_SECONDS):
                return

    def post_next_events(self, url: str, stop: threading.Event) -> bool:
        """Post the next events to this receiver, if it is due. Return whether there may be more.

        `stop` ends the attempt, which is then repeated at the next start.
        """
        now = self._clock()
        batch = self._read_batch(url, now)
        if batch is None:
            return False
        progress = batch.progress
        claim = replace(progress, due=now + timedelta(seconds=self._patience + _CLAIM_SECONDS))
        if not replace_webhook(self._engine, progress, claim):
            return False  # another daemon makes this attempt
        try:
            error = self._attempt(url, batch.payloads, stop)
        except _AttemptStoppedError:
            replace_webhook(self._engine, claim, progress)
            return False
        if error is not None:
            delay = min(timedelta(seconds=2.0 ** min(progress.failures, 12)), _MAX_DELAY)
            log.warning("webhook at %s: %s; next attempt in %s", _host_of(url), error, delay)
            failed = replace(progress, failures=progress.failures + 1, due=self._clock() + delay)
            replace_webhook(self._engine, claim, failed)
            return False
        confirmed = replace(progress, number=batch.numbers[-1], failures=0, due=now)
        replace_webhook(self._engine, claim, confirmed)
        return len(batch.numbers) == self._batch_size(url)

    def _is_single(self, url: str) -> bool:
        """Return whether a receiver gets a POST for each event."""
        return url in (self._get_config().api or ApiConfig()).event_webhooks

    def _batch_size(self, url: str) -> int:
        return 1 if self._is_single(url) else _BATCH

    def _read_batch(self, url: str, now: datetime) -> _Batch | None:
        """Return the next events for a receiver, None where it is not due or there are none."""
        config = self._get_config()
        base = (config.api or ApiConfig()).url or "http://localhost:8000"
        with self._engine.connect() as connection:
            progress = read_webhook(connection, url)
            if progress is not None:
                if progress.due > now:
                    return None
                numbers = find_later_events(
                    connection, progress.number, limit=self._batch_size(url)
                )
                if not numbers:
                    return None
                payloads = event_payloads(connection, numbers, UrlBuilder(base, config, None))
                return _Batch(progress, numbers, payloads)
        add_webhook(self._engine, url, now=now)
        return None

    def _attempt(self, url: str, payloads: list[JsonObject], stop: threading.Event) -> str | None:
        """Post events once. Return the error, None where the receiver confirmed them.

        Raises `_AttemptStoppedError` where `stop` ended the attempt.
        """
        # Imported where there is a receiver: the HTTP client takes a tenth of the start of the API.
        from ingest.api.webhooks.post import post

        settings = self._get_config().api or ApiConfig()
        try:
            is_single = self._is_single(url)
            body = json.dumps(payloads[0] if is_single else {"events": payloads}).encode()
            assert settings.webhook_secret is not None  # the configuration requires it
            secret = settings.webhook_secret.read_bytes().strip()
            headers = {"Content-Type": "application/json", SIGNATURE: sign(body, secret)}
            if is_single:
                headers |= _event_headers(url, payloads[0], sign(body, secret))
            status = post(url, body, headers, stop=stop, patience=self._patience)
        except TimeoutError:
            return f"no response within {self._patience:g} s"
        except OSError as error:
            return str(error) or error.__class__.__name__
        if status is None:
            raise _AttemptStoppedError
        return None if 200 <= status < 300 else f"status {status}"


class _AttemptStoppedError(Exception):
    """The attempt was stopped before it had a result."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The next events for a receiver."""

    progress: WebhookProgress
    numbers: list[int]
    payloads: list[JsonObject]


@dataclass(frozen=True, slots=True)
class _ReceiverThread:
    """The thread of a receiver, which `stop` ends."""

    thread: threading.Thread
    stop: threading.Event


def sign(body: bytes, secret: bytes) -> str:
    """Return the value of the signature header.

    Receivers compute it from the body, and compare in constant time.
    """
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _event_headers(url: str, payload: JsonObject, signature: str) -> dict[str, str]:
    """Return the headers of a POST of one event."""
    return {
        EVENT: payload["category"],
        DELIVERY: str(uuid5(_DELIVERIES, f"{url} {payload['id']}")),
        EVENT_SIGNATURE: signature,
    }


def _host_of(url: str) -> str:
    """Return the host of a URL for the log, without a user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
