"""Sockets bound to the addresses that are to be listened at: by SMTP, LMTP, the API and metrics.

Input: an address, as `ingest.config.values` reads it. Output: an `Endpoint`, whose sockets listen.
Refuses, with `ListenError` in one line, what cannot be bound, and never takes a socket file away
from a program that listens on it.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ingest.config.values import MAX_PATH, InetAddress, SocketAddress, UnixAddress

BACKLOG = 1024  # connections that wait to be accepted; the kernel may allow fewer


class ListenError(Exception):
    """An address that cannot be listened at. The text is one line: what is wrong."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Sockets that listen, and the address of each, with the port that the kernel chose.

    `file`: the device and inode of a Unix socket's file.
    """

    sockets: tuple[socket.socket, ...]
    addresses: tuple[SocketAddress, ...]
    file: tuple[int, int] | None = None

    def remove_file(self) -> None:
        """Remove the file of a Unix socket, unless it is that of a successor by now."""
        for address in self.addresses if self.file is not None else ():
            assert isinstance(address, UnixAddress)
            with suppress(FileNotFoundError):
                found = os.lstat(address.path)
                if (found.st_dev, found.st_ino) == self.file:
                    Path(address.path).unlink()

    def close(self) -> None:
        """Listen no longer."""
        for sock in self.sockets:
            sock.close()
        self.remove_file()


def bind_sockets(
    address: SocketAddress, *, mode: int = 0o660, owner: str | None = None, group: str | None = None
) -> Endpoint:
    """Listen at the address, with several sockets where a name has several addresses.

    `mode`, `owner` and `group` are those of a Unix socket's file. Raises `ListenError`.
    """
    match address:
        case UnixAddress(path):
            sock = _bind_unix(Path(path), mode, owner, group)
            found = os.lstat(path)
            # The socket itself knows another path.
            return Endpoint((sock,), (address,), (found.st_dev, found.st_ino))
        case InetAddress():
            socks = _bind_tcp(address)
            return Endpoint(tuple(socks), tuple(map(address_of, socks)))


def address_of(sock: socket.socket) -> SocketAddress:
    """Where a listening socket is bound."""
    bound = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return UnixAddress(os.fsdecode(bound))
    return InetAddress(*bound[:2])


def _bind_tcp(address: InetAddress) -> list[socket.socket]:
    host = None if address.host == "*" else address.host
    try:
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
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
    if len(os.fsencode(path)) > MAX_PATH:  # `beside` would be bound, and nobody could connect
        raise ListenError(f"unix:{path}: the path is too long for a socket: {MAX_PATH} octets")
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
