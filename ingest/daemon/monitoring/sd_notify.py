"""Notify systemd, as sd_notify(3) does, without its library.

Input: a notice. Output: one datagram to the socket that `$NOTIFY_SOCKET` names. Without that
variable nothing is sent, and `notify` returns False: the daemon also runs without systemd.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """The daemon accepts mail; also sent at the end of a reload. `status`: one line for people."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class Reloading:
    """The daemon reads its configuration again.

    `monotonic_us`: CLOCK_MONOTONIC now, in microseconds, which systemd compares with the time of
    its own request.
    """

    monotonic_us: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon accepts no new mail, and finishes what it has begun."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A line that `systemctl status` shows."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """A keep-alive for the watchdog. Send it only while every job makes progress."""


Notice = Ready | Reloading | Stopping | Status | Alive


def datagram(notice: Notice) -> bytes:
    """Return the notice as `NAME=VALUE` lines."""
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
    """Send a notice to systemd; tell whether it was sent.

    A socket that is gone or full is no error either: a daemon that accepts mail must not end
    because nobody reads its notices. Where systemd depends on them, it acts by itself.
    """
    name = environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):  # it may be vsock:, from inside a virtual machine
        return False
    # `@` means the null byte of an abstract socket, unix(7).
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(datagram(notice), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)
        except OSError:
            return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ, *, pid: int) -> float | None:
    """Return how often to send `Alive`: half of WatchdogSec, as sd_watchdog_enabled(3) advises.

    Returns None where systemd does not expect it, or expects it of another process
    (`$WATCHDOG_PID`).
    """
    period = environ.get("WATCHDOG_USEC", "")
    expected_pid = environ.get("WATCHDOG_PID", str(pid))
    if not (period.isascii() and period.isdigit() and int(period)) or expected_pid != str(pid):
        return None
    return int(period) / 1_000_000 / 2


def _status(text: str) -> list[str]:
    # A line end would start another variable.
    line = " ".join(text.split())
    return [f"STATUS={line}"] if line else []
