"""Test the end of a mail at every split of its bytes, and the memory used."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.smtp import commands
from ingest.smtp.commands import ArgumentError
from ingest.smtp.dot_stuffing import DataReceiver, ReceivedCount, Unstuffer
from ingest.smtp.limits import Protocol, SessionLimits
from ingest.smtp.server import open_listener
from ingest.smtp.spooled_body import Budget, InsufficientStorageError, SpooledBody
from tests.support.dialogs import FakeGate, config

# What is sent after DATA, and the resulting mail. NOOP follows in the same packet.
BODIES = {
    "empty": (b".\r\n", b""),
    "empty line": (b"\r\n.\r\n", b"\r\n"),
    "plain": (b"a\r\nb\r\n.\r\n", b"a\r\nb\r\n"),
    "stuffed": (b"..a\r\n..\r\n...\r\n.b\r\n.\r\n", b".a\r\n.\r\n..\r\nb\r\n"),
    "bare": (b"\n.\n\r.\r\n.\r\r\n.\n\r\r\n\r\n.\r\n", b"\n.\n\r.\r\n\r\r\n\n\r\r\n\r\n"),
    "nearly": (b"\r\n.\r.\r\n..\r\n.\r\r\n\r\n.\r\n", b"\r\n\r.\r\n.\r\n\r\r\n\r\n"),
    "8-bit and NUL": (b"\0\xff\r\n.\0\r\n\r\n.\r\n", b"\0\xff\r\n\0\r\n\r\n"),
}


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """Remove dots as RFC 5321 4.5.2 says, one byte at a time: slow, and simple."""
    content = bytearray()
    at_start, index = True, 0
    while index < len(stream):
        if at_start and stream[index : index + 3] == b".\r\n":
            return bytes(content), stream[index + 3 :]
        if at_start and stream[index : index + 1] == b".":
            index += 1
            at_start = False
            continue
        content.append(stream[index])
        index += 1
        at_start = content.endswith(b"\r\n") and stream[index - 2 : index] == b"\r\n"
    return None


def unstuff(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    reader, content = Unstuffer(), b""
    for index, piece in enumerate(pieces):
        more, rest = reader.feed(piece)
        content += more
        if rest is not None:
            return content, rest + b"".join(pieces[index + 1 :])
    return None


@pytest.mark.parametrize(("sent", "mail"), BODIES.values(), ids=BODIES)
def test_one_split_at_every_place(sent: bytes, mail: bytes) -> None:
    stream = sent + b"NOOP\r\n"
    for at in range(len(stream) + 1):
        assert unstuff([stream[:at], stream[at:]]) == (mail, b"NOOP\r\n")


@pytest.mark.parametrize(("sent", "mail"), BODIES.values(), ids=BODIES)
def test_two_splits_at_every_place(sent: bytes, mail: bytes) -> None:
    for first in range(len(sent) + 1):
        for second in range(first, len(sent) + 1):
            pieces = [sent[:first], sent[first:second], sent[second:]]
            assert unstuff(pieces) == (mail, b"")


@pytest.mark.parametrize(("sent", "mail"), BODIES.values(), ids=BODIES)
def test_one_octet_at_a_time(sent: bytes, mail: bytes) -> None:
    assert unstuff([sent[at : at + 1] for at in range(len(sent))]) == (mail, b"")


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"\0"])),
    st.lists(st.integers(0, 60)),
)
def test_any_octets_at_any_splits_are_as_the_plain_reading_has_them(
    words: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(words)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert unstuff(pieces) == reference(stream)


def test_every_split_over_the_wire(tmp_path: Path) -> None:
    """The same through a socket: each split is a session, in which the mail is complete."""

    async def talk() -> None:
        gate = FakeGate()
        listener = await open_listener(config(Protocol.LMTP, f"unix:{tmp_path}/s"), gate)
        for sent, mail in BODIES.values():
            for at in range(len(sent) + 1):
                reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
                writer.write(b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
                while not (await reader.readline()).startswith(b"354"):
                    pass
                writer.write(sent[:at])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                writer.write(sent[at:] + b"QUIT\r\n")
                assert (await reader.readline()).startswith(b"250 2.0.0")
                assert (await reader.readline()).startswith(b"221")
                writer.close()
                assert gate.got.pop().content == mail
                assert gate.got == []
        await listener.close()

    asyncio.run(talk())


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize(
    ("header", "count"),
    [
        (b"Received: a\r\n" * 3 + b"\r\nReceived: b\r\n", 3),
        (b"Received: a\n" * 3 + b"\nReceived: b\n", 3),
        (b"A: b\r\n received: no\r\nReceIVED: a\r\n\tfolded\r\n\r\n", 1),
        (b"Received-SPF: a\r\nX-Received: b\r\nReceived : c\r\n", 0),
        (b"\r\nReceived: in the body\r\n", 0),
        (b"Received: a\r\n" * 2000, 2000),
    ],
)
def test_received_headers_are_counted_at_any_split(header: bytes, count: int, step: int) -> None:
    received = ReceivedCount()
    for at in range(0, len(header), step):
        received.feed(header[at : at + step])
    assert received.count == count


def _body(budget: Budget, folder: Path, memory: int = 100) -> SpooledBody:
    return SpooledBody(budget, memory=memory, directory=folder)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 5000])
def test_a_body_gives_back_what_was_written(tmp_path: Path, size: int) -> None:
    budget = Budget(memory=1000, spool=10_000)
    content = bytes(index % 251 for index in range(size))
    body = _body(budget, tmp_path)
    for at in range(0, size, 33):
        body.write(content[at : at + 33])
    assert (body.size, body.read(), body.read()) == (size, content, content)
    assert body.sha256 == hashlib.sha256(content).digest()
    assert (budget.memory, budget.spool) == ((size, 0) if size <= 100 else (0, size))
    assert list(tmp_path.iterdir()) == []  # the file has no name
    body.close()
    body.close()
    assert (budget.memory, budget.spool) == (0, 0)
    with pytest.raises(ValueError, match="closed"):
        body.read()


def test_bodies_share_the_memory_and_then_the_disk(tmp_path: Path) -> None:
    budget = Budget(memory=150, spool=150)
    first, second, third = (_body(budget, tmp_path) for _ in range(3))
    first.write(b"x" * 100)
    second.write(b"y" * 100)
    assert (budget.memory, budget.spool) == (100, 100)
    with pytest.raises(InsufficientStorageError):
        third.write(b"z" * 100)
    third.close()
    assert (budget.memory, budget.spool) == (100, 100)
    second.close()
    first.close()
    assert (budget.memory, budget.spool) == (0, 0)


class _FullFile(io.FileIO):
    """A file on a disk with limited space, which writes in parts."""

    room = 250

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = view[: min(70, self.room)]
        self.room -= len(part)
        return super().write(part)


@pytest.mark.parametrize("failing", ["open", "write"])
def test_a_full_disk_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def no_file(**_: object) -> io.FileIO:
        if failing == "open":
            raise OSError(errno.EMFILE, "Too many open files")
        return _FullFile(tmp_path / "f", "w+")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    budget = Budget(memory=1000, spool=10_000)
    body = _body(budget, tmp_path)
    body.write(b"a" * 100)
    if failing == "write":
        body.write(b"b" * 100)
        assert body.read() == b"a" * 100 + b"b" * 100
    with pytest.raises(InsufficientStorageError):
        body.write(b"c" * 100)
    body.close()
    assert (budget.memory, budget.spool) == (0, 0)


def test_a_full_disk_puts_the_mail_off_and_the_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        gate = FakeGate()
        listener = await open_listener(
            config(Protocol.LMTP, f"unix:{tmp_path}/s", memory=100, spool=tmp_path / "gone"), gate
        )
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        writer.write(b"LHLO c\r\n")
        for _ in range(2):
            writer.write(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n")
            while not (await reader.readline()).startswith(b"354"):
                pass
            writer.write(b"line\r\n" * 1000 + b".\r\n")
            assert (await reader.readline()).startswith(b"452 4.3.1")
            assert (await reader.readline()).startswith(b"452 4.3.1")
        (tmp_path / "gone").mkdir()  # there is space again
        writer.write(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        while not (await reader.readline()).startswith(b"354"):
            pass
        writer.write(b"line\r\n" * 1000 + b".\r\n")
        assert (await reader.readline()).startswith(b"250 2.0.0")
        assert [len(got.content) for got in gate.got] == [6000]
        assert listener.stats().outcomes == {"insufficient-storage": 4, "accepted": 1}
        writer.close()
        await listener.close()

    asyncio.run(talk())


def test_an_incoming_mail_that_is_refused_holds_nothing(tmp_path: Path) -> None:
    limits = SessionLimits(size=1000, memory=100, spool=tmp_path)
    budget = Budget(memory=1000, spool=10_000)
    incoming = DataReceiver(limits, budget)
    for _ in range(30):
        assert incoming.feed(b"x" * 50) is None
    assert (incoming.error, incoming.is_endless) == ("too-big", False)
    assert (budget.memory, budget.spool) == (0, 0)
    assert incoming.feed(b"\r\n.\r\nNOOP\r\n") == b"NOOP\r\n"
    assert incoming.size == 1505


@given(st.binary(max_size=80))
def test_any_argument_is_a_path_or_an_argument_error(raw: bytes) -> None:
    for argument in (raw, b"FROM:" + raw, b"FROM:<" + raw, b"FROM:<a@x> " + raw):
        try:
            path = commands.parse_path(argument, b"FROM:", "sender-address")
        except ArgumentError as failure:
            why = str(failure)
        else:
            why = "taken"
            assert path.address.isprintable()
            assert path.address.encode().decode() == path.address
            assert all(keyword == keyword.upper() for keyword, _ in path.parameters)
        assert why in ("taken", "syntax", "sender-address")
        try:
            chunk = commands.parse_chunk(argument)
        except ArgumentError as failure:
            why, chunk = str(failure), 0
        assert chunk >= 0
        assert why in ("taken", "syntax", "sender-address")
