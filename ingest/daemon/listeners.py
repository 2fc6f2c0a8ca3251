"""Open the listeners of the daemon on bound sockets.

Input: the configuration and what `addresses` has bound. Output: listeners in front of a handler.
Raises `ListenError` for unusable TLS files.
"""

from __future__ import annotations

import logging
import resource
import socket
import ssl
from asyncio import gather
from collections.abc import Sequence
from typing import NamedTuple

from ingest.config.settings import Config
from ingest.config.sockets import SocketAddress
from ingest.daemon.addresses import tls_context
from ingest.daemon.jobs.order import BoundListener
from ingest.daemon.monitoring.log import log_event
from ingest.net.networks import Networks
from ingest.smtp.envelope import DeliveryHandler
from ingest.smtp.limits import ListenerConfig, Protocol, SessionLimits
from ingest.smtp.server import Listener, open_listener
from ingest.smtp.sessions import ListenerStats


class _OpenListener(NamedTuple):
    config: ListenerConfig
    listener: Listener


class Listeners:
    """The listeners: `open`, `reload`, `drain`, `close`. Belongs to the loop that opens it."""

    def __init__(self, handler: DeliveryHandler) -> None:
        self._handler = handler
        self._open: list[_OpenListener] = []
        self._max_connections = 0  # of a listener, as far as there are descriptors

    async def open(self, config: Config, bound: Sequence[BoundListener]) -> None:
        """Listen on bound sockets."""
        settings = config.serve
        tls = tls_context(config)
        self._max_connections = _reserve_descriptors(settings.max_connections, listeners=len(bound))
        if self._max_connections < settings.max_connections:
            log_event(
                "max-connections-reduced",
                logging.WARNING,
                connections=self._max_connections,
                reason="LimitNOFILE (ulimit -n) is too low for max_connections",
            )
        for item in bound:
            listener_config = _listener_config(
                config, item.protocol, item.address, tls, max_connections=self._max_connections
            )
            listener = await open_listener(listener_config, self._handler, endpoint=item.endpoint)
            self._open.append(_OpenListener(listener_config, listener))

    def reload(self, config: Config) -> None:
        """Use other networks, limits, names and certificates for new sessions.

        Raises `ListenError`, and then nothing has changed.
        """
        tls = tls_context(config)
        reloaded = [
            _OpenListener(
                _listener_config(
                    config,
                    old.protocol,
                    old.address,
                    tls,
                    max_connections=self._max_connections,
                    mode=old.mode,
                ),
                listener,
            )
            for old, listener in self._open
        ]
        for new, listener in reloaded:
            listener.reload(new)
        self._open = reloaded

    def stats(self) -> Sequence[tuple[str, ListenerStats]]:
        """Return the protocol and the counts of each listener."""
        return [(config.protocol.value, listener.stats()) for config, listener in self._open]

    async def drain(self, seconds: float) -> int:
        """Refuse new connections and end the sessions; returns how many did not end in time."""
        drains = (listener.drain(seconds) for _, listener in self._open)
        return sum(await gather(*drains))

    async def close(self) -> None:
        """End all sessions at once."""
        for _, listener in self._open:
            await listener.close()


def _listener_config(
    config: Config,
    protocol: Protocol,
    address: SocketAddress | None,
    tls: ssl.SSLContext | None,
    *,
    max_connections: int,
    mode: int | None = None,
) -> ListenerConfig:
    settings = config.serve
    return ListenerConfig(
        protocol=protocol,
        address=address,
        hostname=settings.hostname or socket.gethostname(),
        mode=settings.socket_mode if mode is None else mode,
        networks=Networks(settings.allowed_networks),
        tls=tls,
        limits=SessionLimits(
            size=settings.max_size,
            recipients=settings.max_recipients,
            connections=min(settings.max_connections, max_connections),
        ),
    )


# Descriptors that are kept for other uses than connections: the database, the workers' pipes, the
# log, metrics, and a margin. Without them no mail could be committed.
_RESERVED = 128


def _reserve_descriptors(wanted: int, *, listeners: int) -> int:
    """Return how many connections each listener may have, and raise the limit of descriptors.

    A connection needs two descriptors, because a large mail has a file. The limit is raised as
    far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _RESERVED + 2 * wanted * max(listeners, 1)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    return max((soft - _RESERVED) // 2 // max(listeners, 1), 1)
