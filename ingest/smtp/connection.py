"""Read and write the bytes of one client of an SMTP or LMTP server.

Input: what asyncio calls. Output: an `InputBuffer` of what the client sent, and the replies, sent
together where the client has pipelined its commands. Each wait for the client has its own limit.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ingest.smtp import replies
from ingest.smtp.reader import EndedError, InputBuffer
from ingest.smtp.sessions import Sessions

MAX_UNSENT: Final = 1 << 14  # bytes of replies to buffer before we wait for the client
_LINGER: Final = 5.0  # seconds that a client has to read its last reply
_CRLF = b"\r\n"


class ClientConnection(asyncio.BufferedProtocol):
    """The connection of one client.

    This is a `BufferedProtocol`, because asyncio would otherwise read 256 KiB at a time for each
    connection: a thousand clients that pipeline would fill the memory.
    """

    def __init__(self, sessions: Sessions, loop: asyncio.AbstractEventLoop) -> None:
        self.address = ""
        self._loop = loop
        self._sessions = sessions
        self._limits = sessions.config.limits
        self._input = InputBuffer()
        self._replies = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._channel: asyncio.Transport | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._is_encrypted = False
        self._is_ending = self._is_closing = False

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into (asyncio calls this)."""
        del sizehint
        return self._sessions.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that were read (asyncio calls this)."""
        self._input.feed(self._sessions.buffer[:nbytes])

    def eof_received(self) -> bool:
        """Note the end of input, and tell whether to keep our side open (asyncio calls this)."""
        self._input.end()
        if self._is_closing:
            return False
        return not self._is_encrypted  # TCP can be half-closed, TLS cannot

    def pause_writing(self) -> None:
        """Make replies wait for the client (asyncio calls this)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let replies be written again (asyncio calls this)."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """End the session (asyncio calls this)."""
        del error
        self._input.end()
        self._writable.set()
        if self._linger is not None:
            self._linger.cancel()
        self._sessions.remove(self)

    def drain(self) -> None:
        """End the session as soon as nothing is in progress."""
        self._input.stop()

    def abort(self) -> None:
        """Close the connection, whatever is in progress."""
        if self._channel is not None:
            self._channel.abort()

    def _attach(self, transport: asyncio.Transport) -> None:
        """Use a new transport: the first one, or that of TLS."""
        transport.set_write_buffer_limits(high=MAX_UNSENT)
        self._channel = transport
        self._input.attach(transport)

    def _close(self) -> None:
        """Send the remaining replies and close the connection.

        What the client still sends is read and discarded until it closes too. Closing a socket
        with unread bytes resets the connection, and the last reply would be lost.
        """
        channel = self._channel
        if channel is None or channel.is_closing():
            return
        channel.write(bytes(self._replies))
        self._replies.clear()
        if (
            self._is_closing
            or self._input.has_ended
            or channel.get_write_buffer_size()  # it would close its side where nobody catches it
            or not channel.can_write_eof()
        ):
            channel.close()
        else:
            self._input.discard()
            try:
                channel.write_eof()
            except OSError:  # the client has disconnected, and the loop has not noticed yet
                channel.abort()
        self._is_closing = True
        if self._linger is None:
            self._linger = self._loop.call_later(_LINGER, channel.abort)

    # --- replies ---

    def _reply(self, text: str) -> None:
        """Add a reply to those that `_flush` will send."""
        line = replies.sanitize_reply(text)
        self._replies += line.encode("ascii") + _CRLF
        if line.startswith("421"):  # RFC 5321 4.2.3: closing the transmission channel
            self._is_ending = True

    def _terminate(self, reason: str) -> None:
        """End the session with the reply for a reason, which is logged."""
        self._note_termination(reason)
        self._reply(replies.format_reply(reason))

    def _note_termination(self, reason: str) -> None:
        self._sessions.count_terminated(reason)
        self._sessions.log("session-terminated", self.address, reason=reason)

    async def _flush(self) -> None:
        """Send the buffered replies: those of pipelined commands go in one packet.

        Raises `EndedError` where the client does not read them (RFC 2920 3.2 describes that
        deadlock).
        """
        if self._channel is None or self._channel.is_closing():
            raise EndedError
        if self._replies:
            self._channel.write(bytes(self._replies))
            self._replies.clear()
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.reply_timeout):
                await self._writable.wait()
        except TimeoutError as error:
            self._note_termination("reply-timeout")
            self._channel.abort()
            raise EndedError from error
