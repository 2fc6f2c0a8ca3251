"""Speak LMTP as a client (RFC 2033), for `ingest pipe`: sockets, replies and dot-stuffing.

Raises `DeferredError` for everything unexpected and never guesses. Imports almost nothing;
`ingest.submit.pipe` explains why.
"""

import _socket

from ingest.smtp.replies import EX_NOUSER, EX_OK, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

_MAX_LINE = 4096  # bytes of a reply line; RFC 5321 4.5.3.1.5 allows 512
_MAX_LINES = 100  # of one reply
_PIPELINED = 50  # commands: far fewer than a socket buffers, so that neither side can block


class DeferredError(Exception):
    """The mail stays with its sender. The text says why."""


class LmtpClient:
    """A connection to the daemon: it sends commands and reads replies."""

    __slots__ = ("_connection", "_unread")

    def __init__(self, address: str) -> None:
        self._connection = _connect(address)
        self._unread = b""

    def request(self, command: bytes, code: int) -> list[bytes]:
        """Send a command and return the lines of its reply, which must have this code."""
        self.send_commands([command])
        return self.expect(code)

    def send_commands(self, commands: list[bytes]) -> None:
        """Send commands together. No reply may be unread."""
        self.expect_silence()
        self.send(b"".join(command + b"\r\n" for command in commands))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            # Without a signal: what the daemon sent before it closed is worth reading.
            self._connection.sendall(data, _socket.MSG_NOSIGNAL)
        except OSError as error:
            self._receive(_socket.MSG_DONTWAIT)
            reply = f"; its last reply: {printable_reply(self._unread)}" if self._unread else ""
            raise DeferredError(
                f"the daemon closed the connection: {error.strerror}{reply}"
            ) from None

    def expect(self, code: int) -> list[bytes]:
        """Return the lines of the next reply, which must have this code."""
        lines = self._read_reply()
        if int(lines[0][:3]) != code:
            raise DeferredError(f"the daemon replied: {printable_reply(b' '.join(lines))}")
        return lines

    def read_reply(self) -> tuple[int, str]:
        """Return the code of the next reply, and the reply in printable form."""
        lines = self._read_reply()
        return int(lines[0][:3]), printable_reply(b" ".join(lines))

    def expect_silence(self) -> None:
        """Check that the daemon has sent nothing that is unread."""
        self._receive(_socket.MSG_DONTWAIT)
        if self._unread:
            raise DeferredError(f"the daemon replied out of turn: {printable_reply(self._unread)}")

    def quit(self) -> None:
        """Send QUIT. The mail is delivered already, so that errors do not matter."""
        try:
            self._connection.send(b"QUIT\r\n", _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except OSError:
            return

    def _read_reply(self) -> list[bytes]:
        """Read one reply (RFC 5321 4.2.1) and return its lines without line ends."""
        lines: list[bytes] = []
        while len(lines) < _MAX_LINES:
            line = self._read_line()
            code, separator = line[:3], line[3:4]
            if (
                len(code) < 3
                or not code.isdigit()
                or code[:1] not in b"2345"
                or separator not in (b"", b" ", b"-")
                or (lines and code != lines[0][:3])
            ):
                raise DeferredError(f"the daemon does not speak LMTP: {printable_reply(line)}")
            lines.append(line)
            if separator != b"-":
                return lines
        raise DeferredError("the daemon's reply does not end")

    def _read_line(self) -> bytes:
        while b"\n" not in self._unread:
            if len(self._unread) > _MAX_LINE:
                raise DeferredError("the daemon's reply does not end")
            if not self._receive(0):
                raise DeferredError("the daemon closed the connection without a reply")
        line, _, self._unread = self._unread.partition(b"\n")
        return line.removesuffix(b"\r")

    def _receive(self, flags: int) -> bool:
        """Read what has arrived. Returns False where nothing has arrived, or never will."""
        try:
            received = self._connection.recv(_MAX_LINE, flags)
        except BlockingIOError:
            return False
        except ConnectionError:
            received = b""
        self._unread += received
        return bool(received)


def _connect(address: str) -> "socket":
    path = address.removeprefix("unix:")
    try:
        if "/" in path:
            unix = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            unix.connect(path)
            return unix  # type: ignore[return-value]  # the base of socket.socket
        host, colon, port = path.rpartition(":")
        if not colon:
            raise DeferredError(f"neither a path nor HOST:PORT: {address}")
        return _connect_inet(host.strip("[]"), port)
    except OSError as error:
        raise DeferredError(
            f"cannot reach the daemon at {address}: {error.strerror or error}"
        ) from None


def _connect_inet(host: str, port: str) -> "socket":
    """Connect to the first address of the host that accepts."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in _socket.getaddrinfo(
        host, port, 0, _socket.SOCK_STREAM
    ):
        inet = _socket.socket(family, kind, protocol)
        try:
            inet.connect(address)
        except OSError as error:
            inet.close()
            failure = error
        else:
            return inet  # type: ignore[return-value]
    raise failure or OSError(0, "the name has no address")


class DotStuffedWriter:
    """Convert blocks of a mail to the form on the wire (RFC 5321 4.5.2).

    LF becomes CRLF (CRLF and bare CR stay), and a line that begins with a dot gets another.
    """

    __slots__ = ("_at_line_start", "_kept")

    def __init__(self) -> None:
        self._kept = b""  # a CR at the end of a block: the next byte tells what it is
        self._at_line_start = True

    def convert(self, block: bytes) -> bytes:
        """Return the bytes to send for a block."""
        block = self._kept + block
        self._kept = b"\r" if block.endswith(b"\r") else b""
        if self._kept:
            block = block[:-1]
        if not block:
            return b""
        block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        first_dot = b"." if self._at_line_start and block.startswith(b".") else b""
        self._at_line_start = block.endswith(b"\r\n")
        return first_dot + block.replace(b"\r\n.", b"\r\n..")

    def finish(self) -> bytes:
        """Return the remaining bytes to send, the final dot included."""
        is_line_complete = self._at_line_start and not self._kept
        return self._kept + (b"" if is_line_complete else b"\r\n") + b".\r\n"


def send_envelope(
    daemon: LmtpClient, sender: bytes, recipients: list[bytes], rejections: list[str]
) -> list[bytes]:
    """Greet the daemon, send the envelope, and return the accepted recipients.

    The replies to the other recipients are added to `rejections`. Where one recipient is deferred
    no mail is sent: the whole mail is tried again. Where one is rejected, the others still get
    the mail, because Postfix returns the mail as a whole.
    """
    daemon.expect(220)
    greeting = daemon.request(b"LHLO ingest-pipe", 250)
    extensions = {line[4:].split(b" ")[0].upper() for line in greeting}
    mail = b"MAIL FROM:<%b>" % sender
    if b"8BITMIME" in extensions:
        mail += b" BODY=8BITMIME"
    if b"SMTPUTF8" in extensions and not b"".join([sender, *recipients]).isascii():
        mail += b" SMTPUTF8"
    commands = [mail, *(b"RCPT TO:<%b>" % recipient for recipient in recipients)]
    step = _PIPELINED if b"PIPELINING" in extensions else 1
    accepted = []
    for start in range(0, len(commands), step):
        daemon.send_commands(commands[start : start + step])
        for number in range(start, min(start + step, len(commands))):
            if number == 0:
                daemon.expect(250)
                continue
            recipient = recipients[number - 1]
            code, text = daemon.read_reply()
            if interpret_reply(code, f"<{printable_reply(recipient)}>: {text}", rejections):
                accepted.append(recipient)
    return accepted


def interpret_reply(code: int, text: str, rejections: list[str]) -> bool:
    """Tell whether a reply accepts a recipient; a rejection is added to `rejections`.

    Raises `DeferredError` for every other reply.
    """
    status = exit_status(code)
    if status == EX_NOUSER:
        rejections.append(text)
        return False
    if status != EX_OK or code != 250:
        raise DeferredError(text)
    return True


def printable_reply(text: bytes | str) -> str:
    """Return a text on one line, with all but printable ASCII escaped.

    It is for the logs of other programs.
    """
    if isinstance(text, bytes):
        text = text[:400].decode("latin-1")
    return "".join(
        char
        if " " <= char <= "~"
        else f"\\x{ord(char):02x}"
        if char < "\u0100"
        else f"\\u{ord(char):x}"
        for char in text
    )
