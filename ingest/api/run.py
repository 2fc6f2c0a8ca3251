"""Serving the API with uvicorn: alone (`ingest api`), or beside the daemon (`ingest serve`).

Input: where the store is and how it is configured. It listens on the loopback unless it is
configured otherwise; what stands in front of it (nginx, Caddy) brings TLS.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ingest.api.app import STATEMENT_TIMEOUT, make_app
from ingest.api.hooks import Hooks
from ingest.config import ApiConfig, Config
from ingest.intake.endpoint import address_of
from ingest.setting import Address, InetAddress, UnixAddress
from ingest.store.clock import utcnow
from ingest.store.database import write_transaction
from ingest.store.events import behind, follow, publish
from ingest.store.words import index_words

log = logging.getLogger(__name__)

_TICK = 1.0  # seconds between two looks for what has happened
_LET_GO = 10.0  # seconds for requests and calls in hand


class CannotListen(Exception):  # noqa: N818 - reads better where it is raised
    """The text is one line."""


class ApiServer:
    """The API in threads of its own: one serves, one publishes what has happened, one tells
    webhooks of it.

    `engine`: of the store, up to date. `configured`: the configuration as it is now.
    `seconds`: the limit of a query.
    Listens once it is made; `start` answers, `stop` ends what is in hand. Raises `CannotListen`.
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
        self._socket = _bind(settings.listen)
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(engine, configured, seconds=seconds),
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                # Whoever is in front on this machine says who asks.
                forwarded_allow_ips="*"
                if isinstance(settings.listen, UnixAddress)
                else "127.0.0.1,::1",
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
        bound = address_of(self._socket)
        return str(bound) if isinstance(bound, UnixAddress) else f"http://{bound}"

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
        self._socket.close()

    def alive(self) -> bool:
        return all(one.is_alive() for one in self._threads)

    def _serve(self) -> None:
        # Signals are for the main thread: uvicorn leaves them alone in another.
        self._server.run(sockets=[self._socket])

    def _publish(self) -> None:
        def publish_all() -> None:
            with self._engine.connect() as connection:
                waiting = behind(connection)
            if waiting:
                with write_transaction(self._engine) as connection:
                    follow(connection, now=utcnow())
            while waiting and not self._ending.is_set():
                with write_transaction(self._engine) as connection:
                    waiting = publish(connection, now=utcnow()) > 0

        with contextlib.suppress(SQLAlchemyError):  # at the next start, then
            index_words(self._engine)
        self._again_and_again(publish_all)

    def _tell(self) -> None:
        hooks = Hooks(self._engine, self._configured)
        self._again_and_again(lambda: hooks.tell(utcnow(), self._ending))

    def _again_and_again(self, task: Callable[[], None]) -> None:
        while not self._ending.wait(_TICK):
            try:
                task()
            except SQLAlchemyError as error:
                # The database is away: what has happened waits there.
                log.warning("events wait: %s", error.__class__.__name__)


def _bind(address: Address) -> socket.socket:
    try:
        match address:
            case UnixAddress(path):
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                _clear(path)
                made.bind(path)
                # Whoever may read the pages: what is written needs a token.
                Path(path).chmod(0o666)
            case InetAddress(host, port):
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                # TCP by name: asyncio sends at once only where it sees that it is.
                made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((host, port))
    except OSError as error:
        where = address.path if isinstance(address, UnixAddress) else address
        raise CannotListen(f"cannot serve the API at {where}: {error.strerror}") from None
    made.listen(256)
    made.setblocking(False)
    return made


def _clear(path: str) -> None:
    """Remove the socket of a server that was killed. Raises `OSError` where one is alive."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, "Address already in use")
