"""Bind the addresses of the daemon, and open the listeners on them.

Input: the configuration and the environment. Output: bound sockets, those of systemd among them,
and listeners in front of a handler. Raises `ListenError` for addresses that cannot be bound, and
for unusable TLS files.

The parent process binds, and the process that accepts mail listens. So a connection waits while
that process is restarted, and is not refused.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import ssl
from asyncio import gather
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ingest.config.settings import Config
from ingest.config.sockets import SocketAddress
from ingest.daemon.jobs.order import BoundListener
from ingest.daemon.monitoring.log import log_event
from ingest.net import systemd_sockets
from ingest.net.bind import Endpoint, address_of, bind_sockets
from ingest.net.networks import Networks
from ingest.smtp.envelope import DeliveryHandler
from ingest.smtp.limits import ListenerConfig, Protocol, SessionLimits
from ingest.smtp.server import Listener, ListenError, open_listener
from ingest.smtp.sessions import ListenerStats


def bind_listeners(config: Config, environ: Mapping[str, str]) -> tuple[BoundListener, ...]:
    """Bind all addresses of SMTP and LMTP.

    Sockets that systemd passes for a protocol replace the configured addresses of it.
    """
    settings = config.serve
    passed = _take_systemd_sockets(environ)
    if unknown := passed.keys() - {protocol.value for protocol in Protocol}:
        raise ListenError(
            f"systemd passes sockets named {', '.join(sorted(unknown))}; "
            "FileDescriptorName= must be lmtp or smtp"
        )
    bound: list[BoundListener] = []
    with ExitStack() as on_error:
        for protocol, addresses in ((Protocol.LMTP, settings.lmtp), (Protocol.SMTP, settings.smtp)):
            if sockets := passed.get(protocol.value):
                endpoint = Endpoint(tuple(sockets), tuple(map(address_of, sockets)))
                bound.append(BoundListener(protocol, None, endpoint))
                continue
            for address in addresses:
                endpoint = bind_sockets(address, mode=settings.socket_mode)
                on_error.callback(endpoint.close)
                bound.append(BoundListener(protocol, address, endpoint))
        on_error.pop_all()
    return tuple(bound)


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


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Load the configured certificate; None where there is none. Raises `ListenError`."""
    certificate, key = config.serve.tls_certificate, config.serve.tls_key
    if certificate is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A password that is certainly wrong: without it, OpenSSL would ask on the terminal, and
        # everything would wait.
        context.load_cert_chain(certificate, key, password="none")  # noqa: S106
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or str(error)
        raise ListenError(f"cannot use {certificate} with {key}: {reason}") from None
    return context


def _take_systemd_sockets(environ: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """Return the sockets that systemd passes to us, by name."""
    sockets: dict[str, list[socket.socket]] = {}
    for inherited in systemd_sockets.inherited_sockets(environ, os.getpid()):
        try:
            sock = systemd_sockets.take_socket(inherited.descriptor)
        except OSError as error:
            raise ListenError(
                f"descriptor {inherited.descriptor}, passed by systemd as {inherited.name}: "
                f"{error.strerror}"
            ) from None
        if sock.type != socket.SOCK_STREAM:
            raise ListenError(
                f"the socket passed by systemd as {inherited.name} is no stream socket"
            )
        sockets.setdefault(inherited.name, []).append(sock)
    return sockets
