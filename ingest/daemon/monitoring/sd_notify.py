"""What systemd is told: sd_notify(3), without its library.

Input: what there is to say. Output: one datagram to the socket that `$NOTIFY_SOCKET` names.
Without that variable nothing is said, and `notify` returns False: the daemon runs as well
without systemd.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """Mail is taken from now on; also at the end of a reload. `status`: one line for people."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class Reloading:
    """The configuration is read anew. `monotonic_us`: CLOCK_MONOTONIC now, in microseconds,
    which systemd compares with the time of its own request.
    """

    monotonic_us: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """No new mail is taken; what was begun is finished."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What `systemctl status` shows."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """The watchdog is fed. To be sent only when accept and derive are known to work."""


Notice = Ready | Reloading | Stopping | Status | Alive


def datagram(notice: Notice) -> bytes:
    """The notice as `NAME=VALUE` lines."""
    match notice:
        case Ready(status):
            lines = ["READY=1", *_status(status)]
        case Reloading(monotonic_us):
            lines = ["RELOADING=1", f"MONOTONIC_USEC={monotonic_us}"]
        case Stopping(status):
            lines = ["STOPPING=1", *_status(status)]
        case Status(text):
            lines = _status(text)
        case Alive():
            lines = ["WATCHDOG=1"]
    return "\n".join(lines).encode()


def notify(notice: Notice, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell systemd; whether it was told.

    A socket that is gone or full is False too, and no error: a daemon that takes mail must not
    end because nobody listens to its news. Where systemd depends on it, it acts by itself.
    """
    where = environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):  # it may be vsock:, from inside a virtual machine
        return False
    # `@` stands for the null byte of an abstract socket, unix(7).
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(datagram(notice), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)
        except OSError:
            return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ, *, pid: int) -> float | None:
    """How often to send `Alive`: half of WatchdogSec, as sd_watchdog_enabled(3) advises.

    None where systemd does not ask for it, or asks another process (`$WATCHDOG_PID`).
    """
    period = environ.get("WATCHDOG_USEC", "")
    whose = environ.get("WATCHDOG_PID", str(pid))
    if not (period.isascii() and period.isdigit() and int(period)) or whose != str(pid):
        return None
    return int(period) / 1_000_000 / 2


def _status(text: str) -> list[str]:
    # A line end would begin another variable.
    line = " ".join(text.split())
    return [f"STATUS={line}"] if line else []
