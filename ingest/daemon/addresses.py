"""Bind the addresses of the daemon, and load its certificate.

Input: the configuration and the environment. Output: bound sockets, those of systemd among them.
Raises `ListenError` for addresses that cannot be bound, and for unusable TLS files.

The parent process binds, and the process that accepts mail listens. So a connection waits while
that process is restarted, and is not refused. The parent needs nothing of what speaks SMTP.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack

from ingest.config.settings import Config
from ingest.daemon.jobs.order import BoundListener
from ingest.net import systemd_sockets
from ingest.net.bind import Endpoint, ListenError, address_of, bind_sockets
from ingest.smtp.limits import Protocol


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
