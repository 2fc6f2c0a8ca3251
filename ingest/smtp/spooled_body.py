"""A mail as it is read from the wire: small ones in memory, large ones in an unnamed file.

Input: its octets, piece by piece. Output: `envelope.Body`. Refuses, with `NoRoomError`, what
the disk or the budget of all mails in progress has no room for.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from io import FileIO
from pathlib import Path

_log = logging.getLogger(__name__)


class NoRoomError(Exception):
    """The mail cannot be held; its sender is to try again."""


class Budget:
    """What all mails in progress may use together; one for a listener."""

    def __init__(self, *, memory: int, spool: int) -> None:
        self._memory_limit, self._spool_limit = memory, spool
        self.memory = 0  # octets in use
        self.spool = 0

    def take_memory(self, octets: int) -> bool:
        """Use so much more, or say that it is too much."""
        if self.memory + octets > self._memory_limit:
            return False
        self.memory += octets
        return True

    def take_spool(self, octets: int) -> bool:
        """Likewise on disk."""
        if self.spool + octets > self._spool_limit:
            return False
        self.spool += octets
        return True


class SpooledBody:
    """A `Body` that is written first. `close` gives back all that it uses, and may be repeated.

    The file is never flushed to the disk: it is no queue, only room. A mail is safe once the
    gate has committed it, and until then its sender has it.
    """

    def __init__(self, budget: Budget, *, memory: int, folder: Path | None = None) -> None:
        """`memory`: octets that are held before there is a file; `folder`: where it will be."""
        self._budget = budget
        self._memory, self._folder = memory, folder
        self._held = bytearray()
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self._closed = False
        self.size = 0

    @property
    def sha256(self) -> bytes:
        """The digest of what was written."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Add to it. Raises `NoRoomError`, after which it can only be closed."""
        if not data:
            return
        try:
            if self._file is None and not self._hold(data):
                self._file = self._open()
            if self._file is not None:
                self._append(self._file, data)
        except OSError as failure:  # no space, quota, no more files, a broken disk
            _no_room(failure.strerror or str(failure))
            raise NoRoomError from failure
        self._hash.update(data)
        self.size += len(data)

    def read(self) -> bytes:
        """All of it. Raises `OSError` if the disk does not give it back, `ValueError` once closed.

        Never less than all: who would store that has lost a mail.
        """
        if self._closed:
            raise ValueError("the mail in progress is closed")
        if self._file is None:
            return bytes(self._held)
        self._file.seek(0)
        content = self._file.read()
        if len(content) != self.size:
            raise OSError("the file of a mail in progress is shorter than what was written")
        return content

    def close(self) -> None:
        """Forget it."""
        if self._closed:
            return
        self._closed = True
        self._budget.memory -= len(self._held)
        self._held = bytearray()
        if self._file is not None:
            self._file.close()
            self._budget.spool -= self.size

    def _hold(self, data: bytes) -> bool:
        if self.size + len(data) > self._memory or not self._budget.take_memory(len(data)):
            return False
        self._held += data
        return True

    def _open(self) -> FileIO:
        """The file, with what was held in it."""
        file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 (`close` does)
        try:
            held = bytes(self._held)
            if held:
                self._append(file, held)
        except (OSError, NoRoomError):
            file.close()
            raise
        self._budget.memory -= len(self._held)
        self._held = bytearray()
        return file

    def _append(self, file: FileIO, data: bytes) -> None:
        # In the loop's own thread: this copies into the page cache, and the piece is small.
        if not self._budget.take_spool(len(data)):
            _no_room("all mails in progress use too much")
            raise NoRoomError
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            self._budget.spool -= len(data)
            raise


def _no_room(reason: str) -> None:
    _log.warning("no-room", extra={"values": {"reason": reason}})
