"""One daemon owns an SQLite store: two would each take the other's mail in hand for its own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ingest.store.database import StoreError, parse_url


def own(url: str) -> int | None:
    """Hold the store at `url` until the descriptor that is returned is closed, or this process
    ends. None for PostgreSQL, which daemons share. Raises `StoreError` where another has it."""
    parsed = parse_url(url)
    if parsed.drivername != "sqlite" or not parsed.database:
        return None
    # By its real name: a link would have another lock.
    path = Path(f"{Path(parsed.database).resolve()}-daemon")
    if not path.parent.is_dir():
        return None  # `open_store` says what is wrong
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot make {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"another daemon serves {parsed.database}; stop it, or use PostgreSQL, "
            "which several share"
        ) from None
    return descriptor
