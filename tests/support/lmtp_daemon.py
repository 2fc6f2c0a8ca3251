"""A daemon that says what a test tells it to, and does to its client whatever servers do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

# What it may do at a stage in place of saying something.
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


class Daemon:
    """`says` by stage overrides `GOOD`. `commands` and `mail` are what came; `reached` the stages
    whose reply was due, the last one being where it stopped if it did."""

    def __init__(self, says: Mapping[str, bytes | str], *, bytewise: bool, deaf: bool) -> None:
        self.says = says
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
        self._say(connection, "greeting")
        accepted = recipients = 0
        while line := lines.readline():
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == b"RCPT":
                recipients += 1
                said = self._say(connection, f"RCPT {recipients}")
                accepted += said.startswith(b"250")
            elif verb == b"QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            else:
                said = self._say(connection, verb.decode())
            if verb == b"DATA" and said.startswith(b"354"):
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
                    self._say(connection, f"end {number + 1}")

    def _say(self, connection: socket.socket, stage: str) -> bytes:
        self.reached.append(stage)
        self.at[stage].set()
        said = self.says.get(stage, GOOD[stage.partition(" ")[0]])
        if said == SILENT:
            self.over.wait(30)
            raise EOFError
        if said == CLOSE:
            raise EOFError
        if said == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise EOFError
        assert isinstance(said, bytes)
        for piece in [bytes([one]) for one in said] if self.bytewise else [said]:
            connection.sendall(piece)
        return said


@contextlib.contextmanager
def daemon(
    folder: Path, says: Mapping[str, bytes | str] | None = None, *, inet: bool = False,
    bytewise: bool = False, deaf: bool = False,
) -> Iterator[Daemon]:  # fmt: skip
    """Run one, on a Unix socket in the folder or on TCP. `deaf`: it does not read the mail."""
    made = Daemon(says or {}, bytewise=bytewise, deaf=deaf)
    (folder / "s").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_INET if inet else socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if inet else str(folder / "s"))
    listener.listen()
    made.where = f"127.0.0.1:{listener.getsockname()[1]}" if inet else str(folder / "s")
    thread = threading.Thread(target=made.serve, args=(listener,))
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)
        assert not thread.is_alive()
