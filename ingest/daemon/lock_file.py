"""One daemon owns an SQLite store: two would each take the other's mail in hand for its own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ingest.store.engine import StoreError, parse_url


def lock_store(url: str) -> int | None:
    """Hold the store at `url` until the descriptor that is returned is closed, or this process
    ends. None for PostgreSQL, which daemons share. Raises `StoreError` where another has it.
    """
    path = _lock_file(url)
    if path is None or not path.parent.is_dir():
        return None  # `open_store` says what is wrong
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot make {path}: {error.strerror}") from None
    _lock(descriptor, url)
    return descriptor


def refuse_owned(url: str) -> None:
    """Raise `StoreError` where `lock_store` would, and make no file."""
    path = _lock_file(url)
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


def _lock_file(url: str) -> Path | None:
    parsed = parse_url(url)
    if parsed.drivername != "sqlite" or not parsed.database:
        return None
    # By its real name: a link would have another lock.
    return Path(f"{Path(parsed.database).resolve()}-daemon")


def _lock(descriptor: int, url: str) -> None:
    """Lock the file, or close it and raise `StoreError`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"another daemon serves {parse_url(url).database}; stop it, or use PostgreSQL, "
            "which several share"
        ) from None
