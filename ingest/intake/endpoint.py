"""Addresses to listen at, and sockets bound to them.

Input: `unix:/path`, `host:port`, `[::1]:24` or `:24`. Output: listening sockets, and the address
of each in the same notation. Refuses, with `ListenError` in one line, what cannot be bound, and
never takes a socket file away from a program that listens on it.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MAX_PATH = 107  # unix(7): 108 octets with the NUL behind it
BACKLOG = 1024  # connections that wait to be accepted; the kernel may allow fewer


class ListenError(Exception):
    """An address that cannot be listened at. The text is one line: what is wrong."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: Path


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` is '' for every address of the machine."""

    host: str
    port: int


def parse(address: str) -> UnixAddress | TcpAddress:
    """Read an address. Raises `ListenError`."""
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        if not path.is_absolute() or "\0" in address:
            raise ListenError(f"{address!r}: write the whole path, as in unix:/run/ingest/lmtp")
        return UnixAddress(path)
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ListenError(f"{address!r}: write an IPv6 address in brackets, as in [::1]:24")
    if not (colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ListenError(f"{address!r} is no address: write unix:/path or host:port")
    return TcpAddress("" if host == "*" else host, int(port))


def bind(
    address: str, *, mode: int = 0o660, owner: str | None = None, group: str | None = None
) -> list[socket.socket]:
    """Sockets that listen at the address: several where a name has several addresses.

    `mode`, `owner` and `group` are those of a Unix socket's file. Raises `ListenError`.
    """
    match parse(address):
        case UnixAddress(path):
            return [_bind_unix(path, mode, owner, group)]
        case TcpAddress(host, port):
            return _bind_tcp(address, host, port)


def name(sock: socket.socket) -> str:
    """The address of a listening socket, as it would be configured."""
    bound = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(bound)}"
    host, port = bound[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_tcp(address: str, host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as failure:
        raise ListenError(f"{address}: {failure.strerror}") from failure
    socks: list[socket.socket] = []
    for family, kind, protocol, _, target in dict.fromkeys(found):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError:
            continue  # a kernel without IPv6, whose libc has it
        socks.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Each family has its socket; with both in one, the second could not be bound.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as failure:
            for opened in socks:
                opened.close()
            raise ListenError(f"{address}: {failure.strerror or failure}") from failure
    if not socks:
        raise ListenError(f"{address}: this machine has no such kind of address")
    return socks


def _bind_unix(path: Path, mode: int, owner: str | None, group: str | None) -> socket.socket:
    """Bound beside its place and moved there once it listens and its permissions are right.

    So there is no moment at which somebody may connect who must not, or is refused who may; and
    no umask is changed, which belongs to every thread.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ListenError(f"unix:{path}: the path is too long for a socket: {_MAX_PATH} octets")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.with_name(f".{os.getpid()}")
    try:
        _free(path)
        with suppress(FileNotFoundError):
            beside.unlink()  # of a process that had our number and was killed
        sock.bind(os.fspath(beside))
        try:
            if owner is not None or group is not None:
                shutil.chown(beside, owner, group)  # type: ignore[arg-type]  # either may be None
            beside.chmod(mode)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            beside.rename(path)
        except BaseException:
            beside.unlink()
            raise
    except LookupError as failure:
        sock.close()
        raise ListenError(f"unix:{path}: {failure.args[0]}") from failure
    except OSError as failure:
        sock.close()
        raise ListenError(f"unix:{path}: {failure.strerror or failure}") from failure
    except ListenError:
        sock.close()
        raise
    return sock


def _free(path: Path) -> None:
    """Whether the path may be taken. Raises `ListenError` where it may not, or `OSError`."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"unix:{path}: there is a file that is no socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return  # the file of a program that was killed
        except BlockingIOError:
            pass  # its backlog is full
    raise ListenError(f"unix:{path}: another program listens there")
