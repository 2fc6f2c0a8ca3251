"""Define the settings of a listener: where it listens, who may connect, and its limits.

Input: the configuration of the daemon. Output: frozen values. A session keeps its values from
start to end; a reload makes new ones for later sessions.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ingest.config.sockets import SocketAddress
from ingest.net.networks import LOOPBACK_NETWORKS, Networks

_MINUTE = 60.0


class Protocol(StrEnum):
    """The protocol of a listener."""

    LMTP = "lmtp"  # RFC 2033
    SMTP = "smtp"  # RFC 5321


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits of a session and of a listener. Times are in seconds, sizes in bytes."""

    size: int = 32 << 20  # of a mail: SIZE of RFC 1870. At twice this the connection is closed
    recipients: int = 100  # of one mail. RFC 5321 4.5.3.1.8 requires at least as many
    received: int = 100  # Received headers. RFC 5321 6.3: fewer are no sign of a loop
    command: int = 4096  # a command line. RFC 5321 requires 512; SMTPUTF8 and VERP add to it
    errors: int = 20  # malformed commands in a session
    commands: int = 2500  # commands between two mails: NOOP, RSET, rejected recipients

    connections: int = 2000  # open at the same time
    connections_per_address: int = 100  # does not apply to Unix sockets, where all are one

    # RFC 5321 4.5.3.2: each timeout starts again for each command and each chunk of a mail.
    command_timeout: float = 5 * _MINUTE
    data_timeout: float = 3 * _MINUTE
    delivery_timeout: float = 10 * _MINUTE
    reply_timeout: float = 1 * _MINUTE  # for a client that does not read our replies
    handshake_timeout: float = 1 * _MINUTE  # TLS
    # A mail may take `grace`, and one more second for each `rate` bytes that have arrived.
    rate: int = 256
    grace: float = 2 * _MINUTE

    memory: int = 1 << 20  # of one mail; a larger mail goes to an unnamed file
    total_memory: int = 64 << 20  # of all mails in progress; beyond it, mails go to files at once
    total_spool: int = 4 << 30  # of all these files; beyond it, mail is deferred
    spool: Path | None = None  # the directory of these files; None: the system's ($TMPDIR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """The configuration of one listener.

    `address`: None where sockets are passed to us. `hostname`: the name that we give to clients.
    `mode`, `owner` and `group`: of the Unix socket, whose permissions decide who may connect;
    for TCP, `networks` decides. `tls`: where it is set, STARTTLS is offered.
    """

    protocol: Protocol
    address: SocketAddress | None
    hostname: str
    mode: int = 0o660
    owner: str | None = None
    group: str | None = None
    networks: Networks = LOOPBACK_NETWORKS
    tls: ssl.SSLContext | None = None
    limits: SessionLimits = SessionLimits()
