"""Hold a mail while it is received: small ones in memory, large ones in an unnamed file.

Input: the bytes of the mail, chunk by chunk. Output: an `envelope.MailBody`. Raises
`InsufficientStorageError` where the disk is full or the budget of all mails in progress is used.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from io import FileIO
from pathlib import Path

_log = logging.getLogger(__name__)


class InsufficientStorageError(Exception):
    """There is no room for the mail now; the sender should try again."""


class Budget:
    """Limit what all mails in progress use together. Each listener has one."""

    def __init__(self, *, memory: int, spool: int) -> None:
        self._memory_limit, self._spool_limit = memory, spool
        self.memory = 0  # bytes in use
        self.spool = 0

    def reserve_memory(self, size: int) -> bool:
        """Reserve so many more bytes of memory. Returns False where that exceeds the limit."""
        if self.memory + size > self._memory_limit:
            return False
        self.memory += size
        return True

    def reserve_spool(self, size: int) -> bool:
        """Reserve so many more bytes on disk. Returns False where that exceeds the limit."""
        if self.spool + size > self._spool_limit:
            return False
        self.spool += size
        return True


class SpooledBody:
    """A `MailBody` that is written first. `close` releases what it uses and may be repeated.

    The file is never flushed to disk, because it is no queue: a mail is safe once the handler
    has committed it, and until then its sender keeps it.
    """

    def __init__(self, budget: Budget, *, memory: int, directory: Path | None = None) -> None:
        """`memory`: bytes to hold before a file is used; `directory`: where the file is made."""
        self._budget = budget
        self._memory, self._directory = memory, directory
        self._buffer = bytearray()
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self._is_closed = False
        self.size = 0

    @property
    def sha256(self) -> bytes:
        """Return the digest of the bytes written so far."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises `InsufficientStorageError`, after which the body can only be closed.
        """
        if not data:
            return
        try:
            if self._file is None and not self._write_to_memory(data):
                self._file = self._open_file()
            if self._file is not None:
                self._write_to_file(self._file, data)
        except OSError as error:  # no space, quota, no more files, a broken disk
            _log_shortage(error.strerror or str(error))
            raise InsufficientStorageError from error
        self._hash.update(data)
        self.size += len(data)

    def read(self) -> bytes:
        """Return all bytes, and never fewer: storing a part would lose the mail.

        Raises `OSError` where the disk cannot return them, `ValueError` once the body is closed.
        """
        if self._is_closed:
            raise ValueError("the mail in progress is closed")
        if self._file is None:
            return bytes(self._buffer)
        self._file.seek(0)
        content = self._file.read()
        if len(content) != self.size:
            raise OSError("the file of a mail in progress is shorter than what was written")
        return content

    def close(self) -> None:
        """Release memory and file."""
        if self._is_closed:
            return
        self._is_closed = True
        self._budget.memory -= len(self._buffer)
        self._buffer = bytearray()
        if self._file is not None:
            self._file.close()
            self._budget.spool -= self.size

    def _write_to_memory(self, data: bytes) -> bool:
        if self.size + len(data) > self._memory or not self._budget.reserve_memory(len(data)):
            return False
        self._buffer += data
        return True

    def _open_file(self) -> FileIO:
        """Open the file and move the bytes in memory into it."""
        file = tempfile.TemporaryFile(buffering=0, dir=self._directory)  # noqa: SIM115 (`close`)
        try:
            buffered = bytes(self._buffer)
            if buffered:
                self._write_to_file(file, buffered)
        except (OSError, InsufficientStorageError):
            file.close()
            raise
        self._budget.memory -= len(self._buffer)
        self._buffer = bytearray()
        return file

    def _write_to_file(self, file: FileIO, data: bytes) -> None:
        # In the event loop's own thread: this copies a small chunk into the page cache.
        if not self._budget.reserve_spool(len(data)):
            _log_shortage("all mails in progress use too much")
            raise InsufficientStorageError
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            self._budget.spool -= len(data)
            raise


def _log_shortage(reason: str) -> None:
    _log.warning("insufficient-storage", extra={"values": {"reason": reason}})
