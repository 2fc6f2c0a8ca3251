"""Sockets that systemd hands over (sd_listen_fds(3)).

Input: the environment. Output: file descriptors with their names, and sockets of them. Refuses
what is meant for another process, by taking nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

_FIRST = 3  # SD_LISTEN_FDS_START
_MOST = 64  # of descriptors: more of them is no number that somebody meant
_UNNAMED = "unknown"  # what systemd calls a socket without FileDescriptorName=


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A descriptor and its name, `FileDescriptorName=` of the socket unit."""

    descriptor: int
    name: str


def inherited_sockets(environment: Mapping[str, str], pid: int) -> tuple[InheritedSocket, ...]:
    """What was handed to the process `pid`.

    LISTEN_PID is compared since the environment is inherited: a child of ours would take
    descriptors that are not its own.
    """
    if environment.get("LISTEN_PID") != str(pid):
        return ()
    count = environment.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit() and len(count) <= 2 and int(count) <= _MOST):
        return ()
    names = environment.get("LISTEN_FDNAMES", "")
    called = names.split(":") if names else []
    called += [_UNNAMED] * (int(count) - len(called))
    return tuple(
        InheritedSocket(_FIRST + index, called[index] or _UNNAMED) for index in range(int(count))
    )


def take_socket(descriptor: int) -> socket.socket:
    """The socket of a descriptor, which is then the caller's, and no child's.

    Raises `OSError` where it is no socket.
    """
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
