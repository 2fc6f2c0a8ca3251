"""LMTP as a client speaks it (RFC 2033), for `ingest pipe`: sockets, replies, and bytes made ready.

Raises `DeferredError` for whatever is not as it must be; it never guesses. Imports next to
nothing, as `ingest.submit.pipe` explains.
"""

import _socket

from ingest.smtp.replies import EX_NOUSER, EX_OK, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

_LONGEST_LINE = 4096  # of a reply; RFC 5321 4.5.3.1.5 has 512
_MOST_LINES = 100  # of one reply
_PIPELINED = 50  # commands: well below what a socket holds, so that neither side can block


class DeferredError(Exception):
    """The mail stays with its sender. The text says why."""


class LmtpClient:
    """A connection to the daemon: commands out, replies in."""

    __slots__ = ("_connection", "_unread")

    def __init__(self, where: str) -> None:
        self._connection = _connect(where)
        self._unread = b""

    def ask(self, command: bytes, wanted: int) -> list[bytes]:
        self.say([command])
        return self.expect(wanted)

    def say(self, commands: list[bytes]) -> None:
        self.expect_silence()
        self.send(b"".join(command + b"\r\n" for command in commands))

    def send(self, octets: bytes) -> None:
        try:
            # Without a signal: what the daemon said before it closed is worth reading.
            self._connection.sendall(octets, _socket.MSG_NOSIGNAL)
        except OSError as error:
            self._receive(_socket.MSG_DONTWAIT)
            said = f"; it had said: {printable_reply(self._unread)}" if self._unread else ""
            raise DeferredError(f"the daemon is gone: {error.strerror}{said}") from None

    def expect(self, wanted: int) -> list[bytes]:
        """The lines of the next reply, whose code must be this."""
        lines = self._lines()
        if int(lines[0][:3]) != wanted:
            raise DeferredError(f"the daemon says: {printable_reply(b' '.join(lines))}")
        return lines

    def reply(self) -> tuple[int, str]:
        """The next reply's code, and the reply as it may be shown."""
        lines = self._lines()
        return int(lines[0][:3]), printable_reply(b" ".join(lines))

    def expect_silence(self) -> None:
        self._receive(_socket.MSG_DONTWAIT)
        if self._unread:
            raise DeferredError(f"the daemon speaks out of turn: {printable_reply(self._unread)}")

    def leave(self) -> None:
        """Say goodbye. All is settled, so that nothing hangs on it."""
        try:
            self._connection.send(b"QUIT\r\n", _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except OSError:
            return

    def _lines(self) -> list[bytes]:
        """One reply (RFC 5321 4.2.1), without line ends."""
        lines: list[bytes] = []
        while len(lines) < _MOST_LINES:
            line = self._line()
            code, mark = line[:3], line[3:4]
            if (
                len(code) < 3
                or not code.isdigit()
                or code[:1] not in b"2345"
                or mark not in (b"", b" ", b"-")
                or (lines and code != lines[0][:3])
            ):
                raise DeferredError(f"the daemon does not speak LMTP: {printable_reply(line)}")
            lines.append(line)
            if mark != b"-":
                return lines
        raise DeferredError("the daemon's reply does not end")

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            if len(self._unread) > _LONGEST_LINE:
                raise DeferredError("the daemon's reply does not end")
            if not self._receive(0):
                raise DeferredError("the daemon closed the connection without a reply")
        line, _, self._unread = self._unread.partition(b"\n")
        return line.removesuffix(b"\r")

    def _receive(self, flags: int) -> bool:
        """Read what has come; False when there is nothing, and will not be."""
        try:
            came = self._connection.recv(_LONGEST_LINE, flags)
        except BlockingIOError:
            return False
        except ConnectionError:
            came = b""
        self._unread += came
        return bool(came)


def _connect(where: str) -> "socket":
    path = where.removeprefix("unix:")
    try:
        if "/" in path:
            unix = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            unix.connect(path)
            return unix  # type: ignore[return-value]  # the base of socket.socket
        host, colon, port = path.rpartition(":")
        if not colon:
            raise DeferredError(f"neither a path nor HOST:PORT: {where}")
        return _connect_inet(host.strip("[]"), port)
    except OSError as error:
        raise DeferredError(
            f"cannot reach the daemon at {where}: {error.strerror or error}"
        ) from None


def _connect_inet(host: str, port: str) -> "socket":
    """By the first of the name's addresses that answers."""
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
    """Bytes as they come, made ready for the wire: LF to CRLF (CRLF and bare CR stay), and
    lines that begin with a dot get another.
    """

    __slots__ = ("_after_line", "_held")

    def __init__(self) -> None:
        self._held = b""  # a CR at a block's end: what follows says what it is
        self._after_line = True

    def add(self, block: bytes) -> bytes:
        block = self._held + block
        self._held = b"\r" if block.endswith(b"\r") else b""
        if self._held:
            block = block[:-1]
        if not block:
            return b""
        block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        first_dot = b"." if self._after_line and block.startswith(b".") else b""
        self._after_line = block.endswith(b"\r\n")
        return first_dot + block.replace(b"\r\n.", b"\r\n..")

    def end(self) -> bytes:
        """What is still to be sent, the final dot included."""
        whole = self._after_line and not self._held
        return self._held + (b"" if whole else b"\r\n") + b".\r\n"


def envelope_commands(
    daemon: LmtpClient, sender: bytes, recipients: list[bytes], refused: list[str]
) -> list[bytes]:
    """Greet, name sender and recipients; those accepted. The others' replies are added to
    `refused`.

    Nothing is sent where a recipient is put off: the whole mail is tried again. Where one is
    refused, the others still get it, for Postfix returns the mail as a whole.
    """
    daemon.expect(220)
    offers = {line[4:].split(b" ")[0].upper() for line in daemon.ask(b"LHLO ingest-pipe", 250)}
    mail = b"MAIL FROM:<%b>" % sender
    if b"8BITMIME" in offers:
        mail += b" BODY=8BITMIME"
    if b"SMTPUTF8" in offers and not b"".join([sender, *recipients]).isascii():
        mail += b" SMTPUTF8"
    commands = [mail, *(b"RCPT TO:<%b>" % one for one in recipients)]
    at_once = _PIPELINED if b"PIPELINING" in offers else 1
    taken = []
    for start in range(0, len(commands), at_once):
        daemon.say(commands[start : start + at_once])
        for number in range(start, min(start + at_once, len(commands))):
            if number == 0:
                daemon.expect(250)
                continue
            recipient = recipients[number - 1]
            code, text = daemon.reply()
            if interpret_reply(code, f"<{printable_reply(recipient)}>: {text}", refused):
                taken.append(recipient)
    return taken


def interpret_reply(code: int, text: str, refused: list[str]) -> bool:
    """Whether this reply about a recipient is a yes; a no is added to `refused`."""
    status = exit_status(code)
    if status == EX_NOUSER:
        refused.append(text)
        return False
    if status != EX_OK or code != 250:
        raise DeferredError(text)
    return True


def printable_reply(text: bytes | str) -> str:
    """On one line, with all but printable ASCII escaped: it goes into other programs' logs."""
    if isinstance(text, bytes):
        text = text[:400].decode("latin-1")
    return "".join(
        one if " " <= one <= "~" else f"\\x{ord(one):02x}" if one < "\u0100" else f"\\u{ord(one):x}"
        for one in text
    )
