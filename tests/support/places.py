"""Addresses and folders that nobody else uses."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_MEMORY, _DISK = Path("/dev/shm"), Path("/tmp")
_ENOUGH = 4 << 30  # bytes; the whole suite needs about one GiB at a time


@cache
def scratch() -> Path:
    """Return the folder for what tests write: in memory where there is plenty of it, else /tmp.

    Tests make and delete thousands of databases. On a disk that discards the blocks of deleted
    files, deleting one of PostgreSQL takes ten times as long as creating it in memory.
    """
    try:
        status = os.statvfs(_MEMORY)
    except OSError:
        return _DISK
    # Binaries of PostgreSQL may be copied to where its user can run them.
    is_usable = os.access(_MEMORY, os.W_OK | os.X_OK) and not status.f_flag & os.ST_NOEXEC
    has_room = status.f_bavail * status.f_frsize >= _ENOUGH
    return _MEMORY if is_usable and has_room else _DISK


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder in /tmp that every user may enter.

    A Unix socket's path has 107 bytes at most, and Postfix does not run as root.
    """
    folder = Path(tempfile.mkdtemp(prefix="ingest-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
