"""Test what aiosmtpd 1.4.6 does wrong, point by point: here it is right.

`STOCK` shows that the library still has a fault. Where such a test fails, a new version has fixed
it: `ingest.smtp.protocol` may be able to rely on the library again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP

from ingest.smtp.dot_stuffing import DataReceiver
from ingest.smtp.server import Protocol, open_listener
from ingest.smtp.sessions import Sessions
from tests.support.dialogs import FakeGate, config

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
BEGIN = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n"


class Handler:
    """A handler as users of aiosmtpd write it."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.done = False

    async def handle_DATA(self, *_: object) -> str:
        self.begun.set()
        await self.go.wait()
        self.done = True
        raise RuntimeError("secret")


def stock(kind: type[SMTP], talk: Talk, path: Path, handler: Handler, **options: float) -> None:
    """Open a session with the library's own server."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(
            lambda: kind(handler, hostname="x", loop=loop, **options),
            path,  # type: ignore[arg-type]
        )
        reader, writer = await asyncio.open_unix_connection(path)
        async with asyncio.timeout(20):
            await talk(reader, writer)
        writer.transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    asyncio.run(run())


def ours(protocol: Protocol, talk: Talk, path: Path, gate: FakeGate, **limits: float) -> None:
    """Open a session with our server."""

    async def run() -> None:
        listener = await open_listener(config(protocol, f"unix:{path}", **limits), gate)
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.timeout(20):
                await talk(reader, writer)
        finally:
            writer.transport.abort()
            gate.go.set()
            await listener.close()

    asyncio.run(run())


async def until(reader: asyncio.StreamReader, start: bytes) -> bytes:
    """Return the replies up to one that begins with this."""
    seen = b""
    while True:
        line = await reader.readline()
        seen += line
        assert line, seen
        if line.startswith(start):
            return seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_lmtp_has_a_reply_for_each_recipient(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x\r\n.\r\nNOOP\r\n")
        await until(reader, b"354")
        replies = await until(reader, b"250 2.0.0 OK")
        assert replies.count(b"stored") == 2

    ours(Protocol.LMTP, talk, path, FakeGate())


def test_stock_lmtp_has_one_reply_for_all(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler.go.set()
        writer.write(b"LHLO c\r\n" + BEGIN + b"x\r\n.\r\nNOOP\r\n")
        await until(reader, b"354")
        assert (await reader.readline()).startswith(b"500 Error: (RuntimeError) secret")
        assert (await reader.readline()).startswith(b"250 OK")  # NOOP's

    handler = Handler()
    stock(LMTP, talk, path, handler)


def test_pipelining_and_enhanced_codes_are_offered_and_auth_is_not(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n")
        offer = await until(reader, b"250 ")
        assert b"PIPELINING" in offer
        assert b"ENHANCEDSTATUSCODES" in offer
        assert b"AUTH" not in offer

    ours(Protocol.LMTP, talk, path, FakeGate())


def test_stock_offers_neither(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n")
        offer = await until(reader, b"250 ")
        assert b"PIPELINING" not in offer
        assert b"ENHANCEDSTATUSCODES" not in offer

    stock(LMTP, talk, path, Handler())


EVERY_REPLY = [
    b"NOOP", b"RSET", b"RSET x", b"HELP", b"HELP x", b"VRFY", b"VRFY a", b"EXPN", b"NOPE", b"",
    b"MAIL", b"MAIL FROM:<", b"RCPT TO:<>", b"DATA", b"DATA x", b"BDAT 0", b"QUIT x", b"STARTTLS",
    b"MAIL FROM:<a@x> X=1", b"MAIL FROM:<a@x> SIZE=99999999999", b"MAIL FROM:<a@x>",
    b"MAIL FROM:<a@x>", b"RCPT TO:<>", b"RCPT TO:<a@x>", b"RCPT TO:<a@x> X", b"AUTH PLAIN", b"QUIT",
]  # fmt: skip


def test_every_reply_has_an_enhanced_code(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"EHLO c\r\n")
        await until(reader, b"250 ")
        for command in EVERY_REPLY:
            writer.write(command + b"\r\n")
            code, enhanced, _ = (await reader.readline()).split(b" ", 2)
            klass, subject, detail = enhanced.split(b".")
            assert klass == code[:1]
            assert subject.isdigit()
            assert detail.isdigit()

    ours(Protocol.SMTP, talk, path, FakeGate(), errors=100)


@pytest.mark.parametrize("where", ["recipient", "deliver"])
def test_an_exception_is_451_without_its_text(path: Path, where: str) -> None:
    gate = FakeGate()
    (gate.of_recipients if where == "recipient" else gate.of_mails)["b@x"] = "raises"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x\r\n.\r\nQUIT\r\n")
        replies = await until(reader, b"221")
        assert replies.count(b"451 4.3.0") == (1 if where == "recipient" else 2)
        assert b"secret" not in replies
        assert b"forged" not in replies

    ours(Protocol.LMTP, talk, path, gate)


@pytest.mark.parametrize("when", ["feed", "deliver"])
def test_an_exception_within_a_mail_does_not_make_commands_of_the_rest(
    path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError("secret")

    kind: type = DataReceiver if when == "feed" else Sessions
    monkeypatch.setattr(kind, when, fail)
    gate = FakeGate()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN)
        await until(reader, b"354")
        writer.write(b"RSET\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<evil@x>\r\n.\r\n")
        assert (await reader.readline()).startswith(b"451 4.3.0")
        assert await reader.read() == b""

    ours(Protocol.LMTP, talk, path, gate)
    assert gate.asked == ["b@x", "c@x"]


def test_long_lines_are_taken(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x" * 5000 + b"\r\n.\r\n")
        await until(reader, b"354")
        assert (await reader.readline()).startswith(b"250")

    gate = FakeGate()
    ours(Protocol.LMTP, talk, path, gate)
    assert gate.got[0].content == b"x" * 5000 + b"\r\n"


def test_stock_refuses_lines_over_1000_octets(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x" * 5000 + b"\r\n.\r\n")
        await until(reader, b"354")
        assert (await reader.readline()).startswith(b"500 Line too long")

    stock(LMTP, talk, path, Handler())


def test_a_close_behind_the_dot_does_not_cancel(path: Path) -> None:
    gate = FakeGate(of_mails={"*": "waits"})

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x\r\n.\r\n")
        await gate.begun.wait()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        gate.go.set()
        while not gate.got:
            await asyncio.sleep(0.005)

    ours(Protocol.LMTP, talk, path, gate)


def test_stock_cancels_the_handler(path: Path) -> None:
    handler = Handler()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN + b"x\r\n.\r\n")
        await handler.begun.wait()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        handler.go.set()
        await asyncio.sleep(0.05)

    stock(LMTP, talk, path, handler)
    assert not handler.done


async def _slowly(writer: asyncio.StreamWriter) -> None:
    for _ in range(12):
        writer.write(b"x\r\n")
        await asyncio.sleep(0.05)
    writer.write(b".\r\n")


def test_the_time_runs_anew_with_each_piece_and_not_while_the_gate_works(path: Path) -> None:
    gate = FakeGate(of_mails={"*": "waits"})

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN)
        await until(reader, b"354")
        await _slowly(writer)
        await asyncio.sleep(0.5)
        gate.go.set()
        await until(reader, b"250 2.0.0")

    ours(Protocol.LMTP, talk, path, gate, command_timeout=0.4, data_timeout=0.4)


def test_stock_has_one_timer_for_all_of_a_mail(path: Path) -> None:
    handler = Handler()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\n" + BEGIN)
        await until(reader, b"354")
        await _slowly(writer)
        with pytest.raises(ConnectionError):  # the connection was cut while it sent
            await reader.read()

    stock(LMTP, talk, path, handler, timeout=0.4)


def test_the_null_sender_begins_a_mail(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"LHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\n")
        await until(reader, b"250 SIZE")
        assert (await reader.readline()).startswith(b"250 2.1.0")
        assert (await reader.readline()).startswith(b"503 5.5.1")
        assert (await reader.readline()).startswith(b"250 2.1.5")

    ours(Protocol.LMTP, talk, path, FakeGate())


def test_the_limit_on_commands_does_not_grow_with_each_greeting(path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"EHLO c\r\n" * 50)
        for _ in range(50):
            await until(reader, b"250 ")
        writer.write(b"MAIL FROM:<" + b"a" * 5000 + b"@x>\r\n")
        assert (await reader.readline()).startswith(b"500 5.5.2")

    ours(Protocol.SMTP, talk, path, FakeGate())


def test_a_text_of_several_lines_is_one_reply(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def push_forged(self: SMTP, arg: str) -> None:
        await self.push("250 fine\r\n550 5.1.1 forged\x1b[31m\x00\u202e")

    monkeypatch.setattr(SMTP, "smtp_NOOP", push_forged)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"NOOP\r\nQUIT\r\n")
        await reader.readline()
        assert await reader.readline() == b"250 2.0.0 fine??550 5.1.1 forged?[31m??\r\n"
        assert (await reader.readline()).startswith(b"221")

    ours(Protocol.LMTP, talk, path, FakeGate())


@pytest.mark.parametrize("text", ["", "nonsense", "99 x", "999 x", "250", "250ok", b"250 OK"])
def test_what_is_no_reply_is_answered_as_a_defect(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes
) -> None:
    async def push(self: SMTP, arg: str) -> None:
        await self.push(text)

    monkeypatch.setattr(SMTP, "smtp_NOOP", push)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"NOOP\r\nQUIT\r\n")
        await reader.readline()
        reply = await reader.readline()
        assert reply.startswith(b"250 2.0.0" if text in ("250", b"250 OK") else b"451 4.3.0")
        assert (await reader.readline()).startswith(b"221")

    ours(Protocol.LMTP, talk, path, FakeGate())
