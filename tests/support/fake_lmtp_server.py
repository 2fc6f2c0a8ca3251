"""Run an LMTP server that replies and fails as a test wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

# What it may do at a stage instead of replying.
CLOSE = "close"
RESET = "reset"
SILENT = "silent"

# The stages of a dialog with two recipients, in their order.
STAGES = ("greeting", "LHLO", "MAIL", "RCPT 1", "RCPT 2", "DATA", "end 1", "end 2")
GOOD = {
    "greeting": b"220 lists.example.org ready\r\n",
    "LHLO": b"250-lists.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    "MAIL": b"250 2.1.0 fine\r\n",
    "RCPT": b"250 2.1.5 fine\r\n",
    "DATA": b"354 go on\r\n",
    "end": b"250 2.0.0 stored\r\n",
}


class FakeLmtpServer:
    """A server for one client at a time.

    `replies` by stage override `GOOD`. `commands` and `mail` are what it received; `reached` the
    stages whose reply was due, the last being where it stopped if it did. `deaf`: it does not read
    the mail; `bytewise`: it sends one byte at a time.
    """

    def __init__(self, replies: Mapping[str, bytes | str], *, bytewise: bool, deaf: bool) -> None:
        self.replies = replies
        self.bytewise = bytewise
        self.deaf = deaf
        self.commands: list[bytes] = []
        self.mail: bytes | None = None
        self.reached: list[str] = []
        self.at = {stage: threading.Event() for stage in (*STAGES, "mail")}
        self.over = threading.Event()
        self.where = ""

    def serve(self, listener: socket.socket) -> None:
        while not self.over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, EOFError):
                self._dialog(connection)

    def _dialog(self, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        self._reply(connection, "greeting")
        accepted = recipients = 0
        while line := lines.readline():
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == b"RCPT":
                recipients += 1
                reply = self._reply(connection, f"RCPT {recipients}")
                accepted += reply.startswith(b"250")
            elif verb == b"QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            else:
                reply = self._reply(connection, verb.decode())
            if verb == b"DATA" and reply.startswith(b"354"):
                if self.deaf:
                    self.at["mail"].set()
                    self.over.wait(30)
                    return
                mail = bytearray()
                while not (mail == b".\r\n" or mail.endswith(b"\r\n.\r\n")):
                    piece = lines.readline()
                    if not piece:
                        return
                    mail += piece
                self.mail = bytes(mail[:-3])
                for number in range(accepted):
                    self._reply(connection, f"end {number + 1}")

    def _reply(self, connection: socket.socket, stage: str) -> bytes:
        self.reached.append(stage)
        self.at[stage].set()
        reply = self.replies.get(stage, GOOD[stage.partition(" ")[0]])
        if reply == SILENT:
            self.over.wait(30)
            raise EOFError
        if reply == CLOSE:
            raise EOFError
        if reply == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise EOFError
        assert isinstance(reply, bytes)
        for piece in [bytes([byte]) for byte in reply] if self.bytewise else [reply]:
            connection.sendall(piece)
        return reply


@contextlib.contextmanager
def fake_lmtp_server(
    folder: Path, replies: Mapping[str, bytes | str] | None = None, *, inet: bool = False,
    bytewise: bool = False, deaf: bool = False,
) -> Iterator[FakeLmtpServer]:  # fmt: skip
    """Run one on a Unix socket in the folder, or on TCP with `inet`."""
    server = FakeLmtpServer(replies or {}, bytewise=bytewise, deaf=deaf)
    (folder / "s").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_INET if inet else socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if inet else str(folder / "s"))
    listener.listen()
    server.where = f"127.0.0.1:{listener.getsockname()[1]}" if inet else str(folder / "s")
    thread = threading.Thread(target=server.serve, args=(listener,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)
        assert not thread.is_alive()
