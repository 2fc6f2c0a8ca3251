"""Let one process at a time scan the repositories of a store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from ingest.store.database.errors import StoreError

_LOCK = 0x696E67657363616E  # of PostgreSQL's advisory locks, used by this program only


@contextmanager
def scan_lock(engine: Engine) -> Iterator[None]:
    """Wait until no other process scans for this store, and keep others from it for the block.

    The lock ends with the process, however that ends.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        return
    path = Path(f"{Path(engine.url.database or '').resolve()}-scan")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot create {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
