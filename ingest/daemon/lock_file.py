"""Lock an SQLite store for one daemon: two would each take the other's claims for their own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ingest.store.database.errors import StoreError
from ingest.store.database.url import parse_url


def lock_store(url: str) -> int | None:
    """Lock the store at `url` until the returned descriptor is closed or this process ends.

    Returns None for PostgreSQL, which daemons share. Raises `StoreError` where another daemon
    has the lock.
    """
    path = _lock_path(url)
    if path is None or not path.parent.is_dir():
        return None  # `open_store` reports what is wrong
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot create {path}: {error.strerror}") from None
    _lock(descriptor, url)
    return descriptor


def check_unlocked(url: str) -> None:
    """Raise `StoreError` where `lock_store` would, without creating a file."""
    path = _lock_path(url)
    if path is None:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}") from None
    _lock(descriptor, url)
    os.close(descriptor)


def _lock_path(url: str) -> Path | None:
    parsed = parse_url(url)
    if parsed.drivername != "sqlite" or not parsed.database:
        return None
    # By its resolved name: a symbolic link would have another lock.
    return Path(f"{Path(parsed.database).resolve()}-daemon")


def _lock(descriptor: int, url: str) -> None:
    """Lock the file, or close it and raise `StoreError`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"another daemon serves {parse_url(url).database}; stop it, or use PostgreSQL, "
            "which several daemons can share"
        ) from None
