"""What a listener is told: where it listens, to whom, and how much it bears.

Input: the daemon's configuration. Output: frozen values, which hold for a session from its
start to its end; a reload makes new ones for the sessions to come.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ingest.config.values import SocketAddress
from ingest.net.networks import LOOPBACK, Networks

_MINUTE = 60.0


class Protocol(StrEnum):
    """What is spoken."""

    LMTP = "lmtp"  # RFC 2033
    SMTP = "smtp"  # RFC 5321


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Times in seconds, sizes in octets."""

    size: int = 32 << 20  # of a mail; SIZE of RFC 1870. At twice this the connection is cut
    recipients: int = 100  # of one mail: RFC 5321 4.5.3.1.8 wants so many at least
    received: int = 100  # Received headers: RFC 5321 6.3 takes fewer for no sign of a loop
    command: int = 4096  # a command line. RFC 5321 wants 512; SMTPUTF8 and VERP add to it
    faults: int = 20  # broken commands in a session
    commands: int = 2500  # commands between two mails: NOOP, RSET, refused recipients

    connections: int = 2000  # open at a time
    connections_per_address: int = 100  # not counted on a Unix socket, where all are one

    # RFC 5321 4.5.3.2: each runs anew for each command and each piece of a mail.
    command_timeout: float = 5 * _MINUTE
    data_timeout: float = 3 * _MINUTE
    gate_timeout: float = 10 * _MINUTE
    reply_timeout: float = 1 * _MINUTE  # for a peer that does not read what it is told
    handshake_timeout: float = 1 * _MINUTE  # TLS
    # A mail has `grace`, and a second more for each `rate` octets that have come.
    rate: int = 256
    grace: float = 2 * _MINUTE

    memory: int = 1 << 20  # of one mail; what is beyond goes to an unnamed file
    all_memory: int = 64 << 20  # of all mails in progress; beyond, they go to files at once
    all_spool: int = 4 << 30  # of all those files; beyond, mail is put off
    spool: Path | None = None  # the folder of those files; None: the system's ($TMPDIR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """One listener.

    `address`: None where sockets are handed over. `mode`, `owner` and `group` are those of the Unix
    socket; the permissions decide who connects. `networks` decides for TCP. `tls` makes
    STARTTLS offered. `hostname` is how we name ourselves.
    """

    protocol: Protocol
    address: SocketAddress | None
    hostname: str
    mode: int = 0o660
    owner: str | None = None
    group: str | None = None
    networks: Networks = LOOPBACK
    tls: ssl.SSLContext | None = None
    limits: SessionLimits = SessionLimits()
