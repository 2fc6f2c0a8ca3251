"""The octets behind DATA: where they end, and what they are without the dots (RFC 5321 4.5.2).

Input: pieces as the network cut them. Output: a `SpooledBody`, or why the mail is not taken.
Memory does not depend on the mail: there are no lines here, only octets, so that neither a line
without end nor ten million empty ones cost anything. Knows no sockets and no time.
"""

from __future__ import annotations

from typing import Literal

from ingest.smtp.limits import SessionLimits
from ingest.smtp.spooled_body import Budget, NoRoomError, SpooledBody

# Only this ends a mail: no bare LF, no bare CR, in no mixture. Where two servers differ in this,
# one mail is two to the second ("SMTP smuggling", CVE-2023-51764 and its kin).
_END = b"\r\n.\r\n"

DataError = Literal["too-big", "loop", "no-room"]


class Unstuffer:
    """Content out of the stream, at any split: what may yet be the end is held back."""

    def __init__(self) -> None:
        # The CRLF of the DATA command itself comes before the first line (RFC 5321 4.1.1.4),
        # so that a dot there is what it is after any other: stuffing, or the end.
        self._held = b"\r\n"
        self._borrowed = 2

    def feed(self, piece: bytes) -> tuple[bytes, bytes | None]:
        """The content in it; and, once the end has come, what follows it."""
        data = self._held + piece
        end = data.find(_END)
        rest = None
        if end >= 0:
            data, rest = data[: end + 2], data[end + len(_END) :]
        else:
            held = next((n for n in (4, 3, 2, 1) if data.endswith(_END[:n])), 0)
            data, self._held = data[: len(data) - held], data[len(data) - held :]
        content = data.replace(b"\r\n.", b"\r\n")
        if self._borrowed and content:
            content, self._borrowed = content[self._borrowed :], 0
        return content, rest


class ReceivedCount:
    """How many Received headers there are, counted while the header goes by."""

    _FIELD = b"\nreceived:"

    def __init__(self) -> None:
        self._carry = b"\n"
        self._in_header = True
        self.count = 0

    def feed(self, content: bytes) -> None:
        """Look at more of the mail."""
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
    """One mail behind DATA. What is refused is read on to its end, and thrown away."""

    def __init__(self, limits: SessionLimits, budget: Budget) -> None:
        self.body = SpooledBody(budget, memory=limits.memory, folder=limits.spool)
        self.octets = 0  # from the wire, dots included
        self.trouble: DataError | None = None
        self._limits = limits
        self._unstuffer = Unstuffer()
        self._received = ReceivedCount()

    @property
    def endless(self) -> bool:
        """Whether so much has come that it is no use to wait for the end."""
        return self.octets > 2 * self._limits.size

    def feed(self, piece: bytes) -> bytes | None:
        """Take more; what follows the mail, or None while it goes on."""
        content, rest = self._unstuffer.feed(piece)
        self.octets += len(piece) - len(rest or b"")
        if self.trouble is None:
            self._keep(content)
        return rest

    def _keep(self, content: bytes) -> None:
        if self.body.size + len(content) > self._limits.size:
            self._refuse("too-big")
            return
        self._received.feed(content)
        if self._received.count > self._limits.received:
            self._refuse("loop")
            return
        try:
            self.body.write(content)
        except NoRoomError:
            self._refuse("no-room")

    def _refuse(self, trouble: DataError) -> None:
        self.trouble = trouble
        self.body.close()
