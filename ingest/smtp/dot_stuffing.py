"""Find the end of a mail after DATA, and remove its dot-stuffing (RFC 5321 4.5.2).

Input: chunks, split wherever the network split them. Output: a `SpooledBody`, or why the mail is
not accepted. The use of memory does not depend on the mail: this code handles bytes and not
lines, so that neither an endless line nor ten million empty lines cost anything. It knows no
sockets and no clock.
"""

from __future__ import annotations

from typing import Literal

from ingest.smtp.limits import SessionLimits
from ingest.smtp.spooled_body import Budget, InsufficientStorageError, SpooledBody

# Only this ends a mail: no bare LF, no bare CR, in no combination. Where two servers differ in
# this, one mail is two mails to the second server ("SMTP smuggling", CVE-2023-51764 and others).
_END = b"\r\n.\r\n"

DataError = Literal["too-big", "loop", "insufficient-storage"]


class Unstuffer:
    """Extract the content from the stream, however it is split.

    Bytes that may be the beginning of the end are kept until the next chunk decides.
    """

    def __init__(self) -> None:
        # The CRLF of the DATA command itself precedes the first line (RFC 5321 4.1.1.4), so that
        # a dot there means what it means after any other CRLF: stuffing, or the end.
        self._undecided = b"\r\n"
        self._skip = 2

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in the chunk and, once the mail has ended, the bytes after it."""
        data = self._undecided + chunk
        end = data.find(_END)
        rest = None
        if end >= 0:
            data, rest = data[: end + 2], data[end + len(_END) :]
        else:
            kept = next((n for n in (4, 3, 2, 1) if data.endswith(_END[:n])), 0)
            data, self._undecided = data[: len(data) - kept], data[len(data) - kept :]
        content = data.replace(b"\r\n.", b"\r\n")
        if self._skip and content:
            content, self._skip = content[self._skip :], 0
        return content, rest


class ReceivedCount:
    """Count the Received headers of a mail while its chunks pass."""

    _FIELD = b"\nreceived:"

    def __init__(self) -> None:
        self._carry = b"\n"
        self._in_header = True
        self.count = 0

    def feed(self, content: bytes) -> None:
        """Count the headers in the next chunk."""
        if not self._in_header:
            return
        data = self._carry + content.lower()
        ends = [end for end in (data.find(b"\n\n"), data.find(b"\n\r\n")) if end >= 0]
        if ends:
            self._in_header = False
            data = data[: min(ends)]
        self.count += data.count(self._FIELD)
        self._carry = data[1 - len(self._FIELD) :]


class DataReceiver:
    """Receive one mail after DATA. A mail with an error is read to its end and discarded."""

    def __init__(self, limits: SessionLimits, budget: Budget) -> None:
        self.body = SpooledBody(budget, memory=limits.memory, directory=limits.spool)
        self.size = 0  # bytes on the wire, stuffed dots included
        self.error: DataError | None = None
        self._limits = limits
        self._unstuffer = Unstuffer()
        self._received = ReceivedCount()

    @property
    def is_endless(self) -> bool:
        """Tell whether so much has arrived that waiting for the end is of no use."""
        return self.size > 2 * self._limits.size

    def feed(self, chunk: bytes) -> bytes | None:
        """Receive a chunk. Returns the bytes after the mail, or None while it continues."""
        content, rest = self._unstuffer.feed(chunk)
        self.size += len(chunk) - len(rest or b"")
        if self.error is None:
            self._store(content)
        return rest

    def _store(self, content: bytes) -> None:
        if self.body.size + len(content) > self._limits.size:
            self._fail("too-big")
            return
        self._received.feed(content)
        if self._received.count > self._limits.received:
            self._fail("loop")
            return
        try:
            self.body.write(content)
        except InsufficientStorageError:
            self._fail("insufficient-storage")

    def _fail(self, error: DataError) -> None:
        self.error = error
        self.body.close()
