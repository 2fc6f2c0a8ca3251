"""Read and run the dialogs with a listener in `fixtures/dialogs/*.txt`.

`fixtures/dialogs/README.md` describes the format. Each case is run twice: with the client's bytes
sent as written, and one at a time, so that no reply depends on how the network splits them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.config import sockets
from ingest.net.networks import LOOPBACK_NETWORKS
from ingest.smtp.envelope import (
    Accept,
    Decision,
    DeliveryReason,
    Envelope,
    MailBody,
    Reject,
    TempFail,
)
from ingest.smtp.limits import SessionLimits
from ingest.smtp.server import Listener, ListenerConfig, Protocol, open_listener
from tests.support.paths import FIXTURES

PATIENCE = 20.0  # seconds after which a case hangs
HOST = "mail.example.org"


@dataclass(frozen=True)
class Got:
    envelope: Envelope
    content: bytes


@dataclass
class FakeGate:
    """A handler that keeps what it gets, and returns the decisions that a test sets."""

    of_recipients: dict[str, str] = field(default_factory=dict)
    of_mails: dict[str, str] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def check_recipient(self, address: str) -> Decision:
        self.asked.append(address)
        return _verdict(self.of_recipients.get(address, "taken"))

    def taken(self, address: str) -> bool:
        """Tell whether a mail to this recipient is accepted."""
        return self.of_mails.get(address, "taken").startswith("taken")

    async def deliver(self, envelope: Envelope, body: MailBody) -> Sequence[Decision]:
        content = body.read()
        assert len(content) == body.size
        assert hashlib.sha256(content).digest() == body.sha256
        self.begun.set()
        verdicts = []
        for address in envelope.recipients:
            words = self.of_mails.get(address, self.of_mails.get("*", "taken"))
            if words == "few":
                return []
            if words == "waits":
                await self.go.wait()
                words = "taken"
            verdicts.append(_verdict(words))
        self.got.append(Got(envelope, content))
        return verdicts


def _verdict(words: str) -> Decision:
    kind, _, why = words.partition(":")
    match kind:
        case "taken":
            return Accept(DeliveryReason(why or "accepted"))
        case "later":
            return TempFail(DeliveryReason(why))
        case "never":
            return Reject(DeliveryReason(why))
        case "cancelled":
            raise asyncio.CancelledError
        case _:
            raise RuntimeError("secret\r\n250 2.0.0 forged")


@dataclass(frozen=True)
class Case:
    file: str
    name: str
    protocol: Protocol
    settings: dict[str, int | float]
    steps: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def read(path: Path) -> list[Case]:
    """Return the cases of a file."""
    cases: list[Case] = []
    name, options, steps = "", "", []

    def done() -> None:
        if not name:
            return
        words = dict(word.split("=") for word in options.split())
        protocol = Protocol(words.pop("protocol", "lmtp"))
        settings = {
            key: float(value) if "." in value else int(value) for key, value in words.items()
        }
        cases.append(Case(path.stem, name, protocol, settings, tuple(steps)))

    for line in path.read_text().splitlines():
        if line.startswith("== "):
            done()
            name, options, steps = line[3:], "", []
        elif line.startswith("with: "):
            options = line[6:]
        elif line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            steps.append((kind, rest))
    done()
    return cases


def all_cases() -> list[Case]:
    return [case for path in sorted((FIXTURES / "dialogs").glob("*.txt")) for case in read(path)]


_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[rn0\\])")
_PLAIN = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\"}


def unescape(text: str) -> bytes:
    r"""Return text with `\r`, `\n`, `\0`, `\\` and `\xff` as bytes."""
    return _ESCAPE.sub(
        lambda found: _PLAIN.get(found[1]) or bytes([int(found[1][1:], 16)]), text.encode()
    )


def expand(text: str) -> bytes:
    r"""Expand `{1000*x\r\n}` to so many repetitions, and escapes as `unescape` does."""
    pieces = b""
    while "{" in text:
        before, _, rest = text.partition("{")
        inner, _, text = rest.partition("}")
        times, _, what = inner.partition("*")
        pieces += unescape(before) + unescape(what) * int(times)
    return pieces + unescape(text)


def config(
    protocol: Protocol, address: str | None, tls: ssl.SSLContext | None = None, **settings: float
) -> ListenerConfig:
    return ListenerConfig(
        protocol=protocol,
        address=None if address is None else sockets.parse_socket(address),
        hostname=HOST,
        tls=tls,
        networks=LOOPBACK_NETWORKS,
        limits=SessionLimits(**settings),  # type: ignore[arg-type]
    )


def certificate(folder: Path) -> ssl.SSLContext | None:
    """Return a server's context with a new certificate; None where there is no openssl."""
    if shutil.which("openssl") is None:
        return None
    key, chain = folder / "key.pem", folder / "cert.pem"
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    command = ["openssl", *new, "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


class Runner:
    """Run a case with its own listener."""

    def __init__(
        self, case: Case, folder: Path, *, one_at_a_time: bool, tls: ssl.SSLContext
    ) -> None:
        self.case = case
        self.gate = FakeGate()
        self.one_at_a_time = one_at_a_time
        self.tls = tls
        self.folder = folder
        self.seen: list[str] = []

    async def run(self) -> None:
        faults: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        await self._run()
        assert faults == []

    async def _run(self) -> None:
        unix = self.case.protocol is Protocol.LMTP
        address = f"unix:{self.folder}/s" if unix else "127.0.0.1:0"
        context = self.tls if any(kind == "tls" for kind, _ in self.case.steps) else None
        settings = {"spool": self.folder, **self.case.settings}
        listener = await open_listener(
            config(self.case.protocol, address, context, **settings), self.gate
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._talk(listener)
        except TimeoutError:
            raise AssertionError(f"{self.case} hangs after {self.seen}") from None
        finally:
            await listener.close()
        stats = listener.stats()
        assert (stats.open, stats.deliveries, stats.memory, stats.spool) == (0, 0, 0, 0)

    async def _talk(self, listener: Listener) -> None:
        where = listener.addresses[0]
        if where.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(where[5:])
        else:
            host, _, port = where.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        self.reader, self.writer = reader, writer
        try:
            for kind, text in self.case.steps:
                await self._step(kind, text, listener)
        finally:
            writer.transport.abort()
            self.gate.go.set()

    async def _step(self, kind: str, text: str, listener: Listener) -> None:
        match kind:
            case "C:":
                await self._send(expand(text) + b"\r\n")
            case "C>":
                await self._send(expand(text))
            case "P>":
                self.writer.write(expand(text))
            case "S:":
                assert await self._reply() == text or self._fits(text), (self.seen, text)
            case "hello":
                await self._send(
                    b"EHLO c\r\n" if listener.addresses[0][:1] != "u" else b"LHLO c\r\n"
                )
                while not (await self._reply()).startswith("250 "):
                    assert self.seen[-1].startswith("250-"), self.seen
            case "recipient":
                address, verdict = text.split()
                self.gate.of_recipients[address] = verdict
            case "deliver":
                address, verdict = text.split()
                self.gate.of_mails[address] = verdict
            case "got":
                sender, _, rest = text.partition(" -> ")
                to, _, content = rest.partition(" | ")
                got = self.gate.got.pop(0)
                assert got.envelope.sender == ("" if sender == "<>" else sender)
                assert list(got.envelope.recipients) == to.split()
                assert got.content == expand(content)
            case "nothing":
                assert self.gate.got == []
            case "halfclose":
                self.writer.write_eof()
            case "close":
                self.writer.close()
            case "begun":
                await self.gate.begun.wait()
            case "go":
                self.gate.go.set()
            case "settled":
                while listener.stats().deliveries or listener.stats().open:
                    await asyncio.sleep(0.005)
            case "pause":
                await asyncio.sleep(float(text))
            case "drain":
                self.drained = asyncio.create_task(listener.drain(PATIENCE))
                await asyncio.sleep(0.02)
            case "drained":
                assert await self.drained == 0
            case "end":
                assert await self.reader.read() == b"", self.seen
            case "tls":
                trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
                await self.writer.start_tls(trust)
            case _:
                raise AssertionError(f"{self.case}: what is {kind!r}?")

    async def _send(self, data: bytes) -> None:
        if not self.one_at_a_time or len(data) > 5000:
            self.writer.write(data)
        else:
            for index in range(len(data)):
                self.writer.write(data[index : index + 1])
                await asyncio.sleep(0)
        await self.writer.drain()

    async def _reply(self) -> str:
        line = await self.reader.readline()
        assert line.endswith(b"\r\n"), (self.seen, line)
        assert line.count(b"\r") == line.count(b"\n") == 1
        assert len(line) <= 512
        assert b"secret" not in line
        self.seen.append(line[:-2].decode("ascii"))
        return self.seen[-1]

    def _fits(self, expected: str) -> bool:
        """Tell whether the last reply begins with the expected codes."""
        return self.seen[-1].startswith(expected + " ") and expected[:3].isdigit()
