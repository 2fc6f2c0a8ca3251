"""Serve the API with uvicorn: by itself (`ingest api`), or in the daemon (`ingest serve`).

It listens on the loopback interface unless it is configured otherwise; a proxy in front of it
(nginx, Caddy) provides TLS.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.api.address import bind_api, format_urls
from ingest.api.app import STATEMENT_TIMEOUT, make_app
from ingest.api.event_stream import EventStreams
from ingest.api.webhooks.sender import Webhooks
from ingest.clock import utcnow
from ingest.config.settings import ApiConfig, Config
from ingest.net.bind import Endpoint
from ingest.store.activity.events import (
    is_behind,
    publish_events,
    record_existing_events,
    start_recording_events,
)
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages.list_totals import ListTotals
from ingest.store.read.pages.text_search import extend_search_indexes

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0  # between two looks for events that are not published
_TURN_SECONDS = 0.05  # between two batches of names that are indexed, for other writers
_STOP_SECONDS = 10.0  # for requests and webhook attempts in progress


class _Server(uvicorn.Server):
    """Note when the event loop has run last."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.last_tick = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; uvicorn calls this ten times a second."""
        self.last_tick = time.monotonic()
        return await super().on_tick(counter)


class ApiServer:
    """Runs the API in threads of its own.

    One thread serves requests, one publishes events and counts lists, and one posts events to
    webhooks. `engine` is that of a store whose schema is up to date. `get_config` returns the
    configuration as it is now. `seconds` is the limit of a query. The constructor binds the
    sockets, unless it gets an `endpoint` that is bound, and raises `ListenError`; `start` begins to
    respond.
    """

    def __init__(
        self,
        engine: Engine,
        get_config: Callable[[], Config],
        *,
        endpoint: Endpoint | None = None,
        seconds: float = STATEMENT_TIMEOUT,
    ) -> None:
        self._engine = engine
        self._get_config = get_config
        self._bound = endpoint or bind_api(get_config().api or ApiConfig())
        self._totals = ListTotals()
        self._streams = EventStreams()
        self._server = _Server(
            uvicorn.Config(
                make_app(
                    engine,
                    get_config,
                    seconds=seconds,
                    totals=self._totals,
                    streams=self._streams,
                ),
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # `middleware/proxies.py` reads them
                timeout_graceful_shutdown=int(_STOP_SECONDS),
                limit_concurrency=1_000,
            )
        )
        self._stop_event = threading.Event()
        self._threads = tuple(
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("api", self._serve),
                ("api-events", self._publish_events),
                ("api-hooks", self._post_webhooks),
            )
        )

    @property
    def address(self) -> str:
        """Return the addresses that it listens on, as URLs, joined by commas."""
        return format_urls(self._bound)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the requests in progress and the threads, and close the sockets."""
        self._stop_event.set()
        self._streams.close()
        self._server.should_exit = True
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_SECONDS + 5)
        self._bound.close()

    def alive(self) -> bool:
        """Return whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def is_responsive(self, since: float) -> bool:
        """Return whether the loop that serves requests has run after `since`.

        `since` is a time of `time.monotonic`.
        """
        return self._server.last_tick >= since

    def _serve(self) -> None:
        # uvicorn handles signals only in the main thread, which is not this one.
        self._server.run(sockets=list(self._bound.sockets))

    def _publish_events(self) -> None:
        is_indexing = True
        while not self._stop_event.wait(_TURN_SECONDS if is_indexing else _POLL_SECONDS):
            try:
                self._publish_all()
                self._count_lists()
                is_indexing = is_indexing and extend_search_indexes(self._engine)
            except SQLAlchemyError as error:
                # The database does not answer: the events are stored there, and can wait.
                log.warning("events wait: %s", error.__class__.__name__)

    def _publish_all(self) -> None:
        with self._engine.connect() as connection:
            has_more = is_behind(connection)
        if has_more:
            with write_transaction(self._engine) as connection:
                start_recording_events(connection, now=utcnow())
        while has_more:
            begun = time.monotonic()
            with write_transaction(self._engine) as connection:
                is_recording = record_existing_events(connection)
            with write_transaction(self._engine) as connection:
                has_more = publish_events(connection, now=utcnow()) > 0 or is_recording
            # Other writers have their turn: at the first start there may be a million events.
            if has_more and self._stop_event.wait(time.monotonic() - begun):
                break

    def _count_lists(self) -> None:
        if self._totals.is_due:
            with self._engine.connect() as connection:
                self._totals.refresh(connection)

    def _post_webhooks(self) -> None:
        Webhooks(self._engine, self._get_config).run(self._stop_event)
