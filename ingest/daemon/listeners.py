"""The daemon's listeners: as configured, or on the sockets that systemd hands over.

Input: the configuration and the environment. Output: listeners on a gate. Refuses, with
`ListenError`, what cannot be listened at, and TLS files that cannot be used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
from collections.abc import Mapping, Sequence

from ingest.config.file import Config
from ingest.config.values import SocketAddress
from ingest.daemon.monitoring.log import log_event
from ingest.net import systemd_sockets
from ingest.net.networks import Networks
from ingest.smtp.envelope import DeliveryHandler
from ingest.smtp.limits import ListenerConfig, Protocol, SessionLimits
from ingest.smtp.server import Listener, ListenError, open_listener
from ingest.smtp.sessions import ListenerStats


class Listeners:
    """`open`, `reload`, `drain`, `close`; belongs to the loop that opens it."""

    def __init__(self, gate: DeliveryHandler) -> None:
        self._gate = gate
        self._open: list[tuple[ListenerConfig, Listener]] = []
        self._most = 0  # connections of a listener that there are descriptors for

    async def open(self, config: Config, environ: Mapping[str, str]) -> None:
        """Listen everywhere. Where systemd hands over sockets for a protocol, they replace the
        addresses that are configured for it.
        """
        serving = config.serve
        handed = _handed(environ)
        tls = tls_context(config)
        count = sum(map(len, handed.values())) + len(serving.lmtp) + len(serving.smtp)
        self._most = _affordable(serving.max_connections, listeners=count)
        if self._most < serving.max_connections:
            log_event(
                "connections-bounded",
                logging.WARNING,
                connections=self._most,
                reason="LimitNOFILE (ulimit -n) is too low for max_connections",
            )
        for protocol, addresses in ((Protocol.LMTP, serving.lmtp), (Protocol.SMTP, serving.smtp)):
            given = handed.pop(protocol.value, [])
            places = [None] if given else addresses
            for place in places:
                made = _config(config, protocol, place, tls, most=self._most)
                self._open.append((made, await open_listener(made, self._gate, socks=given)))
        if handed:
            raise ListenError(
                f"systemd handed over sockets named {', '.join(sorted(handed))}; "
                "FileDescriptorName= is lmtp or smtp"
            )

    def reload(self, config: Config) -> None:
        """Take other networks, bounds, names and certificates, for the sessions to come.
        Raises `ListenError`, and then nothing has changed.
        """
        tls = tls_context(config)
        made = [
            (
                _config(config, old.protocol, old.address, tls, most=self._most, mode=old.mode),
                listener,
            )
            for old, listener in self._open
        ]
        for new, listener in made:
            listener.reload(new)
        self._open = made

    @property
    def addresses(self) -> list[str]:
        """Where it listens, each with its protocol."""
        return [
            f"{config.protocol} {address}"
            for config, listener in self._open
            for address in listener.addresses
        ]

    def stats(self) -> Sequence[tuple[str, ListenerStats]]:
        """Each listener's counts, beside its protocol."""
        return [(config.protocol.value, listener.stats()) for config, listener in self._open]

    async def drain(self, seconds: float) -> int:
        """Let nobody in and see off who is there; how many had not ended in time."""
        return sum(await asyncio.gather(*(one.drain(seconds) for _, one in self._open)))

    async def close(self) -> None:
        for _, listener in self._open:
            await listener.close()


def _config(
    config: Config,
    protocol: Protocol,
    address: SocketAddress | None,
    tls: ssl.SSLContext | None,
    *,
    most: int,
    mode: int | None = None,
) -> ListenerConfig:
    serving = config.serve
    return ListenerConfig(
        protocol=protocol,
        address=address,
        hostname=serving.hostname or socket.gethostname(),
        mode=serving.socket_mode if mode is None else mode,
        networks=Networks(serving.allowed_networks),
        tls=tls,
        limits=SessionLimits(
            size=serving.max_size,
            recipients=serving.max_recipients,
            connections=min(serving.max_connections, most),
        ),
    )


# Descriptors that are kept for what is not a connection: the database, the workers' pipes, the
# log, metrics, and a margin. Without them no mail could be committed.
_RESERVE = 128


def _affordable(wanted: int, *, listeners: int) -> int:
    """How many connections each listener may have: two descriptors for each, since a large mail
    has a file. Where more are wanted, the limit is raised as far as the system lets us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = _RESERVE + 2 * wanted * max(listeners, 1)
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= need:
        return wanted
    return max((soft - _RESERVE) // 2 // max(listeners, 1), 1)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Of the certificate that is configured. Raises `ListenError`."""
    certificate, key = config.serve.tls_certificate, config.serve.tls_key
    if certificate is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # One that fits nothing: without it, a terminal would be asked for it, and all would wait.
        context.load_cert_chain(certificate, key, password="none")  # noqa: S106
    except OSError as error:  # ssl.SSLError is one
        said = error.strerror or str(error)
        raise ListenError(f"cannot use {certificate} with {key}: {said}") from None
    return context


def _handed(environ: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """The sockets that systemd has made for us, by name."""
    found: dict[str, list[socket.socket]] = {}
    for one in systemd_sockets.inherited_sockets(environ, os.getpid()):
        try:
            sock = systemd_sockets.take_socket(one.descriptor)
        except OSError as error:
            raise ListenError(
                f"descriptor {one.descriptor}, handed over as {one.name}: {error.strerror}"
            ) from None
        found.setdefault(one.name, []).append(sock)
    return found
