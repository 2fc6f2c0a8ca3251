"""Buffer what a client has sent and nobody has read yet, within a limit.

Input: bytes from the transport. Output: command lines, or chunks. Where more arrives than is
read, the transport is paused, so that the buffer does not exceed two chunks.
"""

from __future__ import annotations

import asyncio

CHUNK_SIZE = 1 << 16  # bytes to read from the kernel at a time, and to buffer before a pause


class EndedError(Exception):
    """The client has sent all that it will send, or it has disconnected."""


class StoppedError(Exception):
    """Nothing was read, because `InputBuffer.stop` was called."""


class LongLineError(Exception):
    """A command line exceeded the limit; all of it was discarded."""


class InputBuffer:
    """Buffer the stream of one connection, for one reader at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes at the start of the buffer that contain no line end
        self._is_overlong = False
        self._has_ended = False
        self._discards = False
        self._is_stopped = False
        self._is_paused = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, transport: asyncio.Transport) -> None:
        """Set the transport that is paused and resumed from now on."""
        self._transport = transport
        self._pause_if_full()

    def detach(self) -> None:
        """Discard the buffer, and pause no transport until the next `attach`.

        This is for STARTTLS. Bytes that were sent unencrypted after the command may be anybody's
        (RFC 3207 4.2), and the first encrypted bytes may arrive before the new transport is known.
        """
        self._buffer.clear()
        self._searched = 0
        self._is_overlong = self._is_paused = False
        self._transport = None

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes from the transport."""
        if self._discards:
            return
        self._buffer += data
        self._pause_if_full()
        self._wake()

    def end(self) -> None:
        """Note that the transport will deliver nothing more."""
        self._has_ended = True
        self._wake()

    def stop(self) -> None:
        """Let every wait for a line, now or later, raise `StoppedError`."""
        self._is_stopped = True
        self._wake()

    def discard(self) -> None:
        """Discard the buffer and all that arrives later."""
        self._discards = True
        self._drop(len(self._buffer))

    @property
    def has_ended(self) -> bool:
        """Tell whether the client has closed its side."""
        return self._has_ended

    def push_back(self, data: bytes) -> None:
        """Put bytes back that were read too far."""
        self._buffer[:0] = data
        self._searched = 0

    @property
    def has_line(self) -> bool:
        """Tell whether `read_line` would return at once."""
        return self._has_ended or b"\n" in self._buffer

    @property
    def has_chunk(self) -> bool:
        """Tell whether `read_chunk` would return at once."""
        return self._has_ended or bool(self._buffer)

    async def read_line(self, limit: int) -> bytes:
        """Return the next line without its end; `limit` includes the end.

        Raises `LongLineError`, `StoppedError`, or `EndedError`, also for an incomplete line at the
        end. A bare LF ends a line too: in a command that is harmless, and people use telnet.
        """
        while True:
            if self._is_stopped:
                raise StoppedError
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                is_overlong, self._is_overlong = self._is_overlong or end >= limit, False
                line = b"" if is_overlong else bytes(self._buffer[:end])
                self._drop(end + 1)
                if is_overlong:
                    raise LongLineError
                return line.removesuffix(b"\r")
            self._searched = len(self._buffer)
            if self._searched > limit:
                self._is_overlong = True
                self._drop(self._searched)
            if self._has_ended:
                raise EndedError
            await self._wait_for_more()

    async def read_chunk(self, limit: int | None = None) -> bytes:
        """Return the buffered bytes: at least one, at most `limit`. Raises `EndedError`."""
        while not self._buffer:
            if self._has_ended:
                raise EndedError
            await self._wait_for_more()
        chunk = bytes(self._buffer[:limit])
        self._drop(len(chunk))
        return chunk

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._searched = 0
        if self._is_paused and len(self._buffer) < CHUNK_SIZE and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _pause_if_full(self) -> None:
        if len(self._buffer) >= CHUNK_SIZE and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    async def _wait_for_more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
