"""Bind sockets to the addresses on which SMTP, LMTP, the API and the metrics listen.

Input: an address from `ingest.config.sockets`. Output: an `Endpoint` with listening sockets. An
address that cannot be bound raises `ListenError`. The file of a Unix socket is never removed while
a program listens on it.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.config.sockets import MAX_PATH, InetAddress, SocketAddress, UnixAddress

BACKLOG = 1024  # connections waiting to be accepted; the kernel may allow fewer


class ListenError(Exception):
    """The address cannot be bound. The text is one line: the address and the cause."""


class _FileId(NamedTuple):
    """What identifies a file: a new file at the same path has another inode."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Listening sockets, and the address of each with the port that the kernel chose.

    `file` identifies the file of a Unix socket.
    """

    sockets: tuple[socket.socket, ...]
    addresses: tuple[SocketAddress, ...]
    file: _FileId | None = None

    def remove_file(self) -> None:
        """Remove the file of a Unix socket, unless another process has replaced it."""
        for address in self.addresses if self.file is not None else ():
            assert isinstance(address, UnixAddress)
            with suppress(FileNotFoundError):
                if _identify_file(address.path) == self.file:
                    Path(address.path).unlink()

    def close(self) -> None:
        """Close the sockets and remove the file of a Unix socket."""
        for sock in self.sockets:
            sock.close()
        self.remove_file()


def bind_sockets(
    address: SocketAddress, *, mode: int = 0o660, owner: str | None = None, group: str | None = None
) -> Endpoint:
    """Listen on an address, with one socket for each IP address that a name resolves to.

    `mode`, `owner` and `group` are those of a Unix socket's file. Raises `ListenError`.
    """
    match address:
        case UnixAddress(path):
            sock = _bind_unix(Path(path), mode, owner, group)
            # getsockname() returns the temporary path to which the socket was bound.
            return Endpoint((sock,), (address,), _identify_file(path))
        case InetAddress():
            socks = _bind_tcp(address)
            return Endpoint(tuple(socks), tuple(map(address_of, socks)))


def address_of(sock: socket.socket) -> SocketAddress:
    """Return the address to which a socket is bound."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return UnixAddress(os.fsdecode(name))
    return InetAddress(*name[:2])


def _identify_file(path: str) -> _FileId:
    status = os.lstat(path)
    return _FileId(status.st_dev, status.st_ino)


def _bind_tcp(address: InetAddress) -> list[socket.socket]:
    host = None if address.host == "*" else address.host
    try:
        infos = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ListenError(f"{address}: {error.strerror}") from error
    socks: list[socket.socket] = []
    for family, type_, protocol, _, target in dict.fromkeys(infos):
        try:
            sock = socket.socket(family, type_, protocol)
        except OSError:
            continue  # the libc supports IPv6, but the kernel does not
        socks.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Each family has its own socket: one for both would use the port of the other.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            for opened in socks:
                opened.close()
            raise ListenError(f"{address}: {error.strerror or error}") from error
    if not socks:
        raise ListenError(
            f"{address}: this machine does not support this kind of address; use another one"
        )
    return socks


def _bind_unix(path: Path, mode: int, owner: str | None, group: str | None) -> socket.socket:
    """Bind a socket to a temporary path, and rename it once it listens with the right permissions.

    So a client without permission can never connect, and a client with permission is never
    refused. The umask is not changed, because all threads share it.
    """
    if len(os.fsencode(path)) > MAX_PATH:  # the temporary path would work, but not the final one
        raise ListenError(
            f"unix:{path}: the path is too long for a socket; use at most {MAX_PATH} bytes"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{os.getpid()}")
    try:
        _check_path(path)
        with suppress(FileNotFoundError):
            temporary.unlink()  # of a killed process that had the same process id
        sock.bind(os.fspath(temporary))
        try:
            if owner is not None or group is not None:
                shutil.chown(temporary, owner, group)  # type: ignore[arg-type]  # either may be None
            temporary.chmod(mode)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            temporary.rename(path)
        except BaseException:
            temporary.unlink()
            raise
    except LookupError as error:
        sock.close()
        raise ListenError(f"unix:{path}: {error.args[0]}") from error
    except OSError as error:
        sock.close()
        raise ListenError(f"unix:{path}: {error.strerror or error}") from error
    except ListenError:
        sock.close()
        raise
    return sock


def _check_path(path: Path) -> None:
    """Check that nothing listens on the path. Raises `ListenError` or `OSError`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"unix:{path}: the file is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return  # the file is of a program that was killed
        except BlockingIOError:
            pass  # its backlog is full
    raise ListenError(f"unix:{path}: another program listens there")
