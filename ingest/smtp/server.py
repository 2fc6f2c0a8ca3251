"""A listener: sockets on which SMTP or LMTP is spoken, from start to drain to end.

Input: a `ListenerConfig` and a `DeliveryHandler`. Output: what the gate is given. Refuses, with
`ListenError`, an address that cannot be listened at.

    listener = await listen(config, gate)         # or socks=[...], from systemd
    listener.reload(replace(config, tls=new))     # SIGHUP
    left = await listener.drain(30)               # SIGTERM: what was begun is finished
    await listener.close()
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from ingest.config.values import SocketAddress
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
_ACCEPT = 64
# Turns of the loop until a connection that was cut is known to be closed; TLS takes some.
_TURNS = 20


class Listener:
    """Made by `open_listener`; belongs to the loop that made it."""

    def __init__(self, config: ListenerConfig, gate: DeliveryHandler) -> None:
        self._sessions = Sessions(config, gate)
        self._servers: list[asyncio.Server] = []
        self._bound: bind.Endpoint | None = None  # of ours, not of systemd
        self.addresses: tuple[str, ...] = ()

    async def start(self, socks: Sequence[socket.socket]) -> None:
        """Listen. `open_listener` calls this."""
        config = self._sessions.config
        loop = asyncio.get_running_loop()
        bound: Sequence[SocketAddress]
        if socks:
            for sock in socks:
                if sock.type != socket.SOCK_STREAM:
                    raise ListenError("a socket that was handed over is no stream socket")
            bound = [bind.address_of(sock) for sock in socks]
        else:
            assert config.address is not None
            self._bound = bind.bind_sockets(
                config.address, mode=config.mode, owner=config.owner, group=config.group
            )
            socks, bound = self._bound.sockets, self._bound.addresses
        for sock in socks:
            server = await loop.create_server(
                lambda: Dialog(self._sessions, loop), sock=sock, backlog=_ACCEPT
            )
            self._servers.append(server)
            sock.listen(bind.BACKLOG)  # asyncio has one number for this and for the above
        self.addresses = tuple(map(str, bound))

    def reload(self, config: ListenerConfig) -> None:
        """Take other networks, limits, names and TLS, for the sessions to come.

        Raises `ListenError` where the address, the protocol or the file's permissions differ:
        that needs another listener. The budgets of all mails together stay what they were.
        """
        old = self._sessions.config
        for field in ("address", "protocol", "mode", "owner", "group"):
            if getattr(old, field) != getattr(config, field):
                raise ListenError(f"{self.addresses[0]}: a changed {field} needs a restart")
        self._sessions.config = config

    def stats(self) -> ListenerStats:
        """Counts for the metrics."""
        return self._sessions.stats()

    async def drain(self, seconds: float) -> int:
        """Let nobody in, and see off who is there; returns how many had not ended in time.

        A session that waits for a command hears 421 at once. One that is within DATA or waits
        for the gate is answered first. So is a delivery whose client is gone awaited.
        """
        self._stop_listening()
        self._sessions.drain()
        work: set[asyncio.Task[None] | asyncio.Task[object]] = {*self._sessions.tasks}
        work |= {*self._sessions.deliveries}
        if not work:
            return 0
        _, left = await asyncio.wait(work, timeout=seconds)
        return len(left)

    async def close(self) -> None:
        """End at once. What is not committed is not acknowledged either, and will come again."""
        self._stop_listening()
        self._sessions.draining = True
        tasks = [*self._sessions.tasks, *self._sessions.deliveries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sessions.abort()
        for _ in range(_TURNS):
            if not self.stats().open:
                break
            await asyncio.sleep(0)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._bound is not None:
            self._bound.remove_file()
            self._bound = None


async def open_listener(
    config: ListenerConfig, gate: DeliveryHandler, *, socks: Sequence[socket.socket] = ()
) -> Listener:
    """Listen at `config.address`, or on sockets that listen already. Raises `ListenError`."""
    listener = Listener(config, gate)
    await listener.start(socks)
    return listener
