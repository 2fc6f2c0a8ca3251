"""Test any bytes: every reply is well formed, and the handler has every acknowledged mail."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest

from ingest.smtp.commands import is_forbidden
from ingest.smtp.server import Protocol, open_listener
from tests.support.dialogs import FakeGate, config

REPLY = re.compile(rb"[2345][0-9]{2}[ -][ -~]*")
WORDS = [
    b"LHLO c\r\n", b"EHLO c\r\n", b"HELO\r\n", b"MAIL FROM:<>\r\n", b"MAIL FROM:<a@x> SIZE=5\r\n",
    b"RCPT TO:<b@x>\r\n", b"RCPT TO:<c@x>\r\n", b"RCPT TO:<raises@x>\r\n", b"DATA\r\n", b".\r\n",
    b"\r\n.\r\n", b"\r\n", b"..\r\n", b"RSET\r\n", b"NOOP\r\n", b"VRFY <[\r\n", b"HELP MAIL\r\n",
    b"BDAT 5\r\n", b"BDAT 7 LAST\r\n", b"AUTH LOGIN\r\n", b"STARTTLS\r\n", b"\xff\0\x1b\r\n", b"\n",
    b"x" * 300, b"Received: a\r\n" * 120, b"MAIL FROM:<\xff>\r\n",
    b"RCPT TO:" + b"<" * 50 + b"\r\n", b"\r", b".",
    b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\nx\r\n.\r\n",
]  # fmt: skip
# Such a line ends the session early if it is read as a command.
WEIGHTS = [0.1 if is_forbidden(word) else 1.0 for word in WORDS]


async def session(path: Path, protocol: Protocol, seed: int) -> int:
    """Run one session. Return how many mails the handler accepted."""
    choice = random.Random(seed)
    gate = FakeGate(of_recipients={"raises@x": "raises"})
    gate.of_mails["c@x"] = choice.choice(
        ["taken", "later:database", "raises", "few", "taken:known"]
    )
    limits = {"size": 2000, "memory": choice.choice([10, 5000]), "spool": path.parent}
    listener = await open_listener(config(protocol, f"unix:{path}", **limits), gate)  # type: ignore[arg-type]
    reader, writer = await asyncio.open_unix_connection(path)
    hello = WORDS[0] if protocol is Protocol.LMTP else WORDS[1]
    sent = hello + b"".join(choice.choices(WORDS, WEIGHTS, k=choice.randrange(40)))
    at = 0
    try:
        while at < len(sent):
            step = choice.choice([1, 2, 5, 50, 5000])
            writer.write(sent[at : at + step])
            at += step
            await asyncio.sleep(0)
        writer.write_eof()
        said = await reader.read()
    finally:
        writer.transport.abort()
        await listener.close()
    lines = said.split(b"\r\n")
    assert lines.pop() == b""
    assert all(REPLY.fullmatch(line) for line in lines), (seed, lines)
    assert b"secret" not in said
    stored = sum(line.startswith(b"250 2.0.0 message ") for line in lines)
    taken = [
        [address for address in got.envelope.recipients if gate.taken(address)] for got in gate.got
    ]
    if protocol is Protocol.LMTP:
        assert stored == sum(map(len, taken)), seed
    else:
        assert stored == sum(
            len(recipients) == len(got.envelope.recipients)
            for recipients, got in zip(taken, gate.got, strict=True)
        ), seed
    stats = listener.stats()
    assert (stats.open, stats.deliveries, stats.memory, stats.spool) == (0, 0, 0, 0)
    return len(gate.got)


@pytest.mark.parametrize("protocol", Protocol)
def test_any_session_is_answered(
    tmp_path: Path, protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    fuzz(tmp_path, protocol, range(300))
    assert "session-failed" not in caplog.text


@pytest.mark.torture
@pytest.mark.parametrize("protocol", Protocol)
def test_very_many_sessions_are_answered(
    tmp_path: Path, protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    fuzz(tmp_path, protocol, range(1000, 6000))
    assert "session-failed" not in caplog.text


def fuzz(folder: Path, protocol: Protocol, seeds: range) -> None:
    async def run() -> int:
        mails = 0
        for seed in seeds:
            async with asyncio.timeout(20):
                mails += await session(folder / "s", protocol, seed)
        return mails

    assert asyncio.run(run()) > len(seeds) // 8  # otherwise the test proves little
