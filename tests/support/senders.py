"""Run senders that behave like a mail server: they keep each mail until it is acknowledged, send
the same bytes again otherwise, and record it in a ledger."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import arguments, environment

SENDER = "ada@example.org"
_ANSWER = 60  # seconds without a reply after which a sender hangs up
_LONGEST = 300  # seconds with one mail that are too many


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as its sender has it, with LF, and its recipients."""

    mail: bytes
    recipients: tuple[str, ...]

    @property
    def wire(self) -> bytes:
        """Return it with CRLF, as it is stored, and sent except for the dots."""
        return self.mail.replace(b"\n", b"\r\n")

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.wire).digest()


class NotTakenError(Exception):
    """The mail was deferred: it must be sent again."""


class RefusedError(Exception):
    """The mail was refused permanently: a mail server would return it to its author, which is an
    error."""


@dataclass(slots=True)
class Ledger:
    """The mails and replies of all senders. `sent`: the letters that were begun, by digest, each
    with all its recipients; `acknowledged`: how often each was acknowledged."""

    sent: dict[bytes, Letter] = field(default_factory=dict)
    acknowledged: Counter[bytes] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    killed: int = 0  # `ingest pipe` processes
    troubles: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, letter: Letter) -> None:
        with self.lock:
            before = self.sent.get(letter.sha256)
            named = {*letter.recipients, *(before.recipients if before else ())}
            self.sent[letter.sha256] = Letter(letter.mail, tuple(sorted(named)))

    def taken(self, letter: Letter) -> None:
        with self.lock:
            self.acknowledged[letter.sha256] += 1

    def retry(self, why: str) -> None:
        with self.lock:
            self.retries[why] += 1


class Connection:
    """The client's side of SMTP or LMTP, as far as it is needed."""

    def __init__(self, where: Path | int, *, lmtp: bool) -> None:
        """`where`: a Unix socket's path, or a port of 127.0.0.1."""
        self._lmtp = lmtp
        self._socket = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
        self._socket.settimeout(_ANSWER)
        try:
            self._socket.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
            self._lines = self._socket.makefile("rb")
            self._expect(220)
            self._ask(b"LHLO sender.example.org" if lmtp else b"EHLO sender.example.org", 250)
        except BaseException:
            self._socket.close()
            raise

    def send(self, letter: Letter) -> None:
        """Send a letter until all recipients have their 250. Raises `NotTakenError`,
        `RefusedError`, and `OSError` or `EOFError` where the daemon is gone."""
        self._ask(b"MAIL FROM:<%b>" % SENDER.encode(), 250)
        for recipient in letter.recipients:
            self._ask(b"RCPT TO:<%b>" % recipient.encode(), 250)
        self._ask(b"DATA", 354)
        stuffed = (b"\r\n" + letter.wire).replace(b"\r\n.", b"\r\n..")[2:]
        self._socket.sendall(stuffed + b".\r\n")
        for _ in letter.recipients if self._lmtp else (None,):
            self._expect(250)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _ask(self, command: bytes, wanted: int) -> None:
        self._socket.sendall(command + b"\r\n")
        self._expect(wanted)

    def _expect(self, wanted: int) -> None:
        while True:
            line = self._lines.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError
            if line[3:4] != b"-":
                break
        if line.startswith(str(wanted).encode()):
            return
        raise (RefusedError if line.startswith(b"5") else NotTakenError)(line.decode().strip())


class Sender(threading.Thread):
    """Send a share, and begin it again until `halt` is set. Every letter that was begun is sent
    until it is accepted. `way`: how it is sent; each sender has its own."""

    def __init__(
        self,
        way: Way,
        share: Sequence[Letter],
        ledger: Ledger,
        halt: threading.Event,
        *,
        seed: str,
        pause: float,
    ) -> None:
        super().__init__(daemon=True)
        self.way = way
        self.delivered = 0
        self.last: Exception | None = None  # why it last had to send again
        self._share = share
        self._ledger = ledger
        self._halt = halt
        self._pause = pause
        self._chance = random.Random(seed)

    def run(self) -> None:
        try:
            for letter in self._letters():
                self._deliver(letter)
                self._halt.wait(self._chance.uniform(0, self._pause))
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the test looks at it
            with self._ledger.lock:
                self._ledger.troubles.append(f"{type(error).__name__}: {error}")
        finally:
            self.way.close()

    def _letters(self) -> Iterator[Letter]:
        """Yield all letters once, then again until `halt` is set."""
        yield from self._share
        while not self._halt.is_set():
            yield self._chance.choice(self._share)

    def _deliver(self, letter: Letter) -> None:
        self._ledger.begin(letter)
        deadline = time.monotonic() + _LONGEST
        while True:
            try:
                self.way.send(letter)
            except (OSError, EOFError, NotTakenError) as error:
                self.last = error
                self._ledger.retry(_named(error))
                self.way.close()
                if time.monotonic() >= deadline:
                    raise RefusedError(f"not taken in {_LONGEST} s: {error!r}") from error
                time.sleep(self._chance.uniform(0.01, 0.2))
            else:
                self._ledger.taken(letter)
                self.delivered += 1
                return


class Way:
    """How a sender sends a letter."""

    def send(self, letter: Letter) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close connections; by default there are none."""


class OverSocket(Way):
    """Send by SMTP or LMTP, over one connection while it lasts. A new one goes to the daemon that
    `where` returns."""

    def __init__(self, where: Callable[[], Path | int], *, lmtp: bool) -> None:
        self._where = where
        self._lmtp = lmtp
        self._open: Connection | None = None

    def send(self, letter: Letter) -> None:
        if self._open is None:
            self._open = Connection(self._where(), lmtp=self._lmtp)
        self._open.send(letter)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


class ByPipe(Way):
    """Send by `ingest pipe`, one process for each letter, as Postfix does."""

    def __init__(self, where: Callable[[], Path | int], ledger: Ledger) -> None:
        self._where = where
        self._ledger = ledger
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, letter: Letter) -> None:
        where = self._where()
        shown = f"127.0.0.1:{where}" if isinstance(where, int) else str(where)
        words = ["--socket", shown, "-f", SENDER, "--", *letter.recipients]
        process = subprocess.Popen(
            arguments("pipe", *words),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._process = process
        _, said = process.communicate(letter.mail, timeout=_LONGEST)
        if process.returncode == -9:
            with self._ledger.lock:
                self._ledger.killed += 1
            raise NotTakenError("killed")
        if process.returncode == 75:
            raise NotTakenError("75")
        if process.returncode != 0:
            raise RefusedError(f"status {process.returncode}: {said.decode()}")

    def kill(self) -> None:
        """Kill the current process with SIGKILL, if there is one."""
        if self._process is not None:
            self._process.kill()


def _named(error: Exception) -> str:
    """Return a short name of an error."""
    return str(error)[:9] if isinstance(error, NotTakenError) else type(error).__name__
