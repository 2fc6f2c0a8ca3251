"""Take over the sockets that systemd passes (sd_listen_fds(3)).

Input: the environment. Output: file descriptors with their names, and their sockets. Descriptors
that are meant for another process are ignored.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_MAX_DESCRIPTORS = 64  # a larger number is an error
_UNNAMED = "unknown"  # the name from systemd for a socket without FileDescriptorName=


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A descriptor and its name, `FileDescriptorName=` of the socket unit."""

    descriptor: int
    name: str


def inherited_sockets(environment: Mapping[str, str], pid: int) -> tuple[InheritedSocket, ...]:
    """Return the sockets that systemd has passed to the process `pid`.

    LISTEN_PID must be that process: child processes inherit the environment, and would take
    descriptors that are not theirs.
    """
    if environment.get("LISTEN_PID") != str(pid):
        return ()
    count = environment.get("LISTEN_FDS", "")
    if not (
        count.isascii() and count.isdigit() and len(count) <= 2 and int(count) <= _MAX_DESCRIPTORS
    ):
        return ()
    names = environment.get("LISTEN_FDNAMES", "")
    names_by_index = names.split(":") if names else []
    names_by_index += [_UNNAMED] * (int(count) - len(names_by_index))
    return tuple(
        InheritedSocket(_FIRST_DESCRIPTOR + index, names_by_index[index] or _UNNAMED)
        for index in range(int(count))
    )


def take_socket(descriptor: int) -> socket.socket:
    """Return the socket of a descriptor. The caller owns it, and child processes do not inherit it.

    Raises `OSError` if the descriptor is not a socket.
    """
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
