"""What a peer has sent and nobody has read yet: bounded, as lines or as it came.

Input: octets as the transport hands them over. Output: command lines, or pieces. Where more comes
than is read, the transport is told to wait, so that what is held does not pass two pieces.
"""

from __future__ import annotations

import asyncio

PIECE = 1 << 16  # octets that are asked of the kernel at a time, and held before it has to wait


class EndedError(Exception):
    """The peer has sent all that it will, or is gone."""


class StoppedError(Exception):
    """Nothing was read: `Input.stop` was called."""


class LongLineError(Exception):
    """A command line was longer than allowed; all of it was thrown away."""


class InputBuffer:
    """The stream of one connection; one reader at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked = 0  # octets at its start that have no line end
        self._overlong = False
        self._ended = False
        self._ignoring = False
        self._stopped = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, transport: asyncio.Transport) -> None:
        """From now on it is this transport that is told to wait."""
        self._transport = transport
        self._hold_back()

    def detach(self) -> None:
        """Throw away what is held, and tell no transport to wait, until the next `attach`.

        For STARTTLS. What was sent in the clear behind it might be anybody's (RFC 3207 4.2), and
        the first that comes encrypted may come before the new transport is known.
        """
        self._buffer.clear()
        self._looked = 0
        self._overlong = self._paused = False
        self._transport = None

    def feed(self, data: bytes | memoryview) -> None:
        """From the transport: more has come."""
        if self._ignoring:
            return
        self._buffer += data
        self._hold_back()
        self._wake()

    def end(self) -> None:
        """From the transport: nothing more will come."""
        self._ended = True
        self._wake()

    def stop(self) -> None:
        """Let who waits for a line, now or later, wait no more."""
        self._stopped = True
        self._wake()

    def ignore(self) -> None:
        """Throw away what is held, and all that comes."""
        self._ignoring = True
        self._drop(len(self._buffer))

    @property
    def ended(self) -> bool:
        """Whether the peer has ended its half."""
        return self._ended

    def unread(self, data: bytes) -> None:
        """Put back what was read too much."""
        self._buffer[:0] = data
        self._looked = 0

    @property
    def has_line(self) -> bool:
        """Whether `line` would return at once."""
        return self._ended or b"\n" in self._buffer

    @property
    def has_piece(self) -> bool:
        """Whether `piece` would return at once."""
        return self._ended or bool(self._buffer)

    async def line(self, limit: int) -> bytes:
        """The next line without its end, of `limit` octets at most with it.

        Raises `LongLineError`, `StoppedError`, or `EndedError`, also for half a line at the end.
        A bare LF ends it too: that hurts nobody in a command, and people have telnet.
        """
        while True:
            if self._stopped:
                raise StoppedError
            end = self._buffer.find(b"\n", self._looked)
            if end >= 0:
                overlong, self._overlong = self._overlong or end >= limit, False
                line = b"" if overlong else bytes(self._buffer[:end])
                self._drop(end + 1)
                if overlong:
                    raise LongLineError
                return line.removesuffix(b"\r")
            self._looked = len(self._buffer)
            if self._looked > limit:
                self._overlong = True
                self._drop(self._looked)
            if self._ended:
                raise EndedError
            await self._more()

    async def piece(self, limit: int | None = None) -> bytes:
        """What is there: one octet at least, `limit` at most. Raises `EndedError`."""
        while not self._buffer:
            if self._ended:
                raise EndedError
            await self._more()
        piece = bytes(self._buffer[:limit])
        self._drop(len(piece))
        return piece

    def _drop(self, octets: int) -> None:
        del self._buffer[:octets]
        self._looked = 0
        if self._paused and len(self._buffer) < PIECE and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _hold_back(self) -> None:
        if len(self._buffer) >= PIECE and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
