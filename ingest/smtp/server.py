"""Run a listener: sockets on which SMTP or LMTP is spoken, from start to drain to close.

Input: a `ListenerConfig` and a `DeliveryHandler`. Output: calls of the handler. Raises
`ListenError` for an address that cannot be listened on.

    listener = await open_listener(config, handler)   # or endpoint=..., which is bound already
    listener.reload(replace(config, tls=context))     # SIGHUP
    remaining = await listener.drain(30)              # SIGTERM: finish what has begun
    await listener.close()
"""

from __future__ import annotations

import asyncio

from ingest.net import bind
from ingest.net.bind import ListenError
from ingest.smtp.envelope import DeliveryHandler
from ingest.smtp.limits import ListenerConfig, Protocol
from ingest.smtp.protocol import Dialog
from ingest.smtp.sessions import ListenerStats, Sessions

__all__ = [
    "ListenError",
    "Listener",
    "ListenerConfig",
    "ListenerStats",
    "Protocol",
    "open_listener",
]

# Connections that the loop accepts in one step, before it does other work.
_ACCEPTS_PER_STEP = 64
# Steps of the loop after which an aborted connection is certainly closed; TLS needs some.
_STEPS_TO_CLOSE = 20


class Listener:
    """Listen on sockets. Made by `open_listener`; belongs to the loop that made it."""

    def __init__(self, config: ListenerConfig, handler: DeliveryHandler) -> None:
        self._sessions = Sessions(config, handler)
        self._servers: list[asyncio.Server] = []
        self._endpoint: bind.Endpoint | None = None
        self.addresses: tuple[str, ...] = ()

    async def start(self, endpoint: bind.Endpoint | None) -> None:
        """Start to listen. `open_listener` calls this."""
        config = self._sessions.config
        loop = asyncio.get_running_loop()
        if endpoint is None:
            assert config.address is not None
            endpoint = bind.bind_sockets(
                config.address, mode=config.mode, owner=config.owner, group=config.group
            )
        self._endpoint = endpoint
        for sock in endpoint.sockets:
            server = await loop.create_server(
                lambda: Dialog(self._sessions, loop), sock=sock, backlog=_ACCEPTS_PER_STEP
            )
            self._servers.append(server)
            sock.listen(bind.BACKLOG)  # asyncio has one number for this and for the above
        self.addresses = tuple(map(str, endpoint.addresses))

    def reload(self, config: ListenerConfig) -> None:
        """Use other networks, limits, names and TLS for new sessions.

        Raises `ListenError` where the address, the protocol or the file's permissions differ,
        because that needs another listener. The total budgets of all mails do not change.
        """
        old = self._sessions.config
        for field in ("address", "protocol", "mode", "owner", "group"):
            if getattr(old, field) != getattr(config, field):
                raise ListenError(f"{self.addresses[0]}: a changed {field} needs a restart")
        self._sessions.config = config

    def stats(self) -> ListenerStats:
        """Return the counts for the metrics."""
        return self._sessions.stats()

    async def drain(self, seconds: float) -> int:
        """Refuse new connections and end the sessions; returns how many had not ended in time.

        A session that waits for a command gets 421 at once. A session that receives a mail, or
        waits for the handler, gets its reply first. A delivery whose client has disconnected is
        waited for as well.
        """
        self._stop_listening()
        self._sessions.drain()
        tasks: set[asyncio.Task[None] | asyncio.Task[object]] = {*self._sessions.tasks}
        tasks |= {*self._sessions.deliveries}
        if not tasks:
            return 0
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        return len(pending)

    async def close(self) -> None:
        """End all sessions at once.

        Mail that is not committed is not acknowledged either, and its sender tries again.
        """
        self._stop_listening()
        self._sessions.is_draining = True
        tasks = [*self._sessions.tasks, *self._sessions.deliveries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sessions.abort()
        for _ in range(_STEPS_TO_CLOSE):
            if not self.stats().open:
                break
            await asyncio.sleep(0)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._endpoint is not None:
            self._endpoint.remove_file()
            self._endpoint = None


async def open_listener(
    config: ListenerConfig, handler: DeliveryHandler, *, endpoint: bind.Endpoint | None = None
) -> Listener:
    """Listen at `config.address`, or on an endpoint that is bound already.

    Raises `ListenError`.
    """
    listener = Listener(config, handler)
    await listener.start(endpoint)
    return listener
