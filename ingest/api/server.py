"""Serving the API with uvicorn: alone (`ingest api`), or beside the daemon (`ingest serve`).

Input: where the store is and how it is configured. It listens on the loopback unless it is
configured otherwise; what stands in front of it (nginx, Caddy) brings TLS.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.api.app import STATEMENT_TIMEOUT, make_app
from ingest.api.webhooks import Webhooks
from ingest.clock import utcnow
from ingest.config.file import API_SOCKET_MODE, ApiConfig, Config
from ingest.config.values import UnixAddress
from ingest.net.bind import ListenError, bind_sockets
from ingest.store.activity.events import is_behind, publish_events, start_recording_events
from ingest.store.engine import write_transaction
from ingest.store.read.text_search import index_words

log = logging.getLogger(__name__)

_TICK = 1.0  # seconds between two looks for what has happened
_LET_GO = 10.0  # seconds for requests and calls in hand


class ApiServer:
    """The API in threads of its own: one serves, one publishes what has happened, one tells
    webhooks of it.

    `engine`: of the store, up to date. `configured`: the configuration as it is now.
    `seconds`: the limit of a query.
    Listens once it is made; `start` answers, `stop` ends what is in hand. Raises `ListenError`.
    """

    def __init__(
        self,
        engine: Engine,
        configured: Callable[[], Config],
        *,
        seconds: float = STATEMENT_TIMEOUT,
    ) -> None:
        settings = configured().api or ApiConfig()
        self._engine = engine
        self._configured = configured
        try:
            self._bound = bind_sockets(settings.listen, mode=API_SOCKET_MODE)
        except ListenError as error:
            raise ListenError(f"cannot serve the API at {error}") from None
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(engine, configured, seconds=seconds),
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # `proxies.py` reads them
                timeout_graceful_shutdown=int(_LET_GO),
                limit_concurrency=1_000,
            )
        )
        self._ending = threading.Event()
        self._threads = tuple(
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("api", self._serve),
                ("api-events", self._publish),
                ("api-hooks", self._tell),
            )
        )

    @property
    def address(self) -> str:
        return ", ".join(
            str(one) if isinstance(one, UnixAddress) else f"http://{one}"
            for one in self._bound.addresses
        )

    def start(self) -> None:
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """End what is in hand, and the threads."""
        self._ending.set()
        self._server.should_exit = True
        for one in self._threads:
            if one.is_alive():
                one.join(_LET_GO + 5)
        self._bound.close()

    def alive(self) -> bool:
        return all(one.is_alive() for one in self._threads)

    def _serve(self) -> None:
        # Signals are for the main thread: uvicorn leaves them alone in another.
        self._server.run(sockets=list(self._bound.sockets))

    def _publish(self) -> None:
        def publish_all() -> None:
            with self._engine.connect() as connection:
                waiting = is_behind(connection)
            if waiting:
                with write_transaction(self._engine) as connection:
                    start_recording_events(connection, now=utcnow())
            while waiting and not self._ending.is_set():
                with write_transaction(self._engine) as connection:
                    waiting = publish_events(connection, now=utcnow()) > 0

        with contextlib.suppress(SQLAlchemyError):  # at the next start, then
            index_words(self._engine)
        self._again_and_again(publish_all)

    def _tell(self) -> None:
        Webhooks(self._engine, self._configured).run(self._ending)

    def _again_and_again(self, task: Callable[[], None]) -> None:
        while not self._ending.wait(_TICK):
            try:
                task()
            except SQLAlchemyError as error:
                # The database is away: what has happened waits there.
                log.warning("events wait: %s", error.__class__.__name__)
