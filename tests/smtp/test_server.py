"""Test where a listener listens, which clients may connect, and how it stops."""

from __future__ import annotations

import asyncio
import grp
import os
import re
import socket
import ssl
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.config.sockets import InetAddress, UnixAddress, parse_networks
from ingest.config.values import InvalidValue
from ingest.net.bind import ListenError
from ingest.net.networks import LOOPBACK_NETWORKS, Networks
from ingest.net.systemd_sockets import InheritedSocket, inherited_sockets
from ingest.smtp import replies
from ingest.smtp.envelope import DeliveryReason
from ingest.smtp.protocol import Dialog
from ingest.smtp.reader import CHUNK_SIZE
from ingest.smtp.server import Protocol, open_listener
from tests.support import dialogs
from tests.support.dialogs import FakeGate, config


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_loopback(address: str, within: bool) -> None:
    assert (address in LOOPBACK_NETWORKS) is within


def test_networks_are_read_with_and_without_a_length() -> None:
    some = Networks(parse_networks(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "fe80::/10"]))
    assert "192.0.2.200" in some
    assert "2001:db8:1::1" in some
    assert "198.51.100.7" in some
    assert "198.51.100.8" not in some
    assert "fe80::1%eth0" in some
    with pytest.raises(InvalidValue, match=r"a list of networks.*example.org"):
        parse_networks(["example.org"])
    assert "127.0.0.1" not in Networks(())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, (InheritedSocket(3, "unknown"),)),
        (
            {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "lmtp:smtp"},
            (InheritedSocket(3, "lmtp"), InheritedSocket(4, "smtp")),
        ),
        (
            {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "lmtp:"},
            (
                InheritedSocket(3, "lmtp"),
                InheritedSocket(4, "unknown"),
                InheritedSocket(5, "unknown"),
            ),
        ),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "1"}, ()),
        ({"LISTEN_FDS": "1"}, ()),
        ({"LISTEN_PID": "7"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "x"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "0"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "9999999999"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "²"}, ()),
    ],
)
def test_what_systemd_hands_over(
    environment: Mapping[str, str], expected: tuple[InheritedSocket, ...]
) -> None:
    assert inherited_sockets(environment, 7) == expected


def test_the_file_of_a_unix_socket(tmp_path: Path) -> None:
    path, group = tmp_path / "s", grp.getgrgid(os.getgid()).gr_name

    async def run() -> None:
        wanted = replace(config(Protocol.LMTP, f"unix:{path}"), mode=0o622, group=group)
        listener = await open_listener(wanted, FakeGate())
        assert listener.addresses == (f"unix:{path}",)
        found = path.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o622
        assert found.st_gid == os.getgid()
        assert list(tmp_path.iterdir()) == [path]
        await listener.close()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(run())


def test_the_file_of_a_killed_program_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))

    async def run() -> None:
        listener = await open_listener(config(Protocol.LMTP, f"unix:{path}"), FakeGate())
        reader, _ = await asyncio.open_unix_connection(path)
        assert (await reader.readline()).startswith(b"220")
        await listener.close()

    asyncio.run(run())


def test_a_socket_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def run() -> None:
        first = await open_listener(config(Protocol.LMTP, f"unix:{path}"), FakeGate())
        with pytest.raises(ListenError, match="another program listens there"):
            await open_listener(config(Protocol.LMTP, f"unix:{path}"), FakeGate())
        reader, _ = await asyncio.open_unix_connection(path)
        assert (await reader.readline()).startswith(b"220")
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()  # what an administrator may do; then a second one comes
        second = await open_listener(config(Protocol.LMTP, f"unix:{path}"), FakeGate())
        await first.close()
        assert path.exists()
        await second.close()
        assert not path.exists()

    asyncio.run(run())


def refused(at: str, **settings: object) -> str:
    async def run() -> None:
        wanted = replace(config(Protocol.LMTP, at), **settings)  # type: ignore[arg-type]
        listener = await open_listener(wanted, FakeGate())
        await listener.close()

    with pytest.raises(ListenError) as failure:
        asyncio.run(run())
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_what_cannot_be_listened_at(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    assert "not a socket" in refused(f"unix:{file}")
    assert file.read_text() == "precious"
    assert "No such file" in refused(f"unix:{tmp_path}/none/s")
    long = UnixAddress(f"{tmp_path}/{'x' * 200}")  # the configuration refuses it earlier
    assert "too long" in refused(f"unix:{tmp_path}/s", address=long)
    assert "nobody-has-this" in refused(f"unix:{tmp_path}/s", group="nobody-has-this")
    assert "nobody-has-this" in refused(f"unix:{tmp_path}/s", owner="nobody-has-this")
    assert list(tmp_path.iterdir()) == [file]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in refused(f"127.0.0.1:{taken.getsockname()[1]}")
    assert refused("no-such-host.invalid:24")


class Client:
    """Opened from an address of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, address: str, source: str | None = None) -> Client:
        if address.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(address[5:]))
        host, _, port = address.rpartition(":")
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection(host, int(port), local_addr=local))

    async def says(self, start: str) -> None:
        line = (await self.reader.readline()).decode()
        assert line.startswith(start), line

    async def ends(self) -> None:
        assert await self.reader.read() == b""

    def close(self) -> None:
        self.writer.transport.abort()


def run(coroutine: object) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(20):
            await coroutine  # type: ignore[misc]

    asyncio.run(guarded())


def test_who_may_connect() -> None:
    async def talk() -> None:
        wanted = replace(
            config(Protocol.SMTP, "127.0.0.1:0"), networks=Networks(parse_networks(["127.0.0.3"]))
        )
        listener = await open_listener(wanted, FakeGate())
        (address,) = listener.addresses
        good, bad = await Client.to(address, "127.0.0.3"), await Client.to(address, "127.0.0.2")
        await good.says("220")
        await bad.says("421 4.7.1")
        await bad.ends()
        stats = listener.stats()
        assert (stats.open, stats.accepted, stats.refused) == (1, 1, {"network": 1})
        await listener.close()

    run(talk())


def test_connections_are_capped_for_each_address_and_in_all() -> None:
    async def talk() -> None:
        listener = await open_listener(
            config(Protocol.SMTP, "127.0.0.1:0", connections=4, connections_per_address=2),
            FakeGate(),
        )
        (address,) = listener.addresses
        first, second, third = [await Client.to(address, "127.0.0.2") for _ in range(3)]
        await first.says("220")
        await second.says("220")
        await third.says("421 4.3.2 too many connections from your address")
        await third.ends()
        others = [await Client.to(address, f"127.0.0.{n}") for n in (3, 4, 5)]
        await others[0].says("220")
        await others[1].says("220")
        await others[2].says("421 4.3.2 too many connections;")
        await others[2].ends()
        assert listener.stats().refused == {"address-connections": 1, "connections": 1}
        first.close()
        while listener.stats().open == 4:
            await asyncio.sleep(0.005)
        again = await Client.to(address, "127.0.0.2")
        await again.says("220")
        await listener.close()
        assert listener.stats().open == 0

    run(talk())


def test_a_unix_socket_has_no_addresses_to_cap(tmp_path: Path) -> None:
    async def talk() -> None:
        listener = await open_listener(
            config(Protocol.LMTP, f"unix:{tmp_path}/s", connections=3, connections_per_address=1),
            FakeGate(),
        )
        clients = [await Client.to(listener.addresses[0]) for _ in range(4)]
        for client in clients[:3]:
            await client.says("220")
        await clients[3].says("421 4.3.2")
        await listener.close()

    run(talk())


def test_a_reload_is_for_the_sessions_to_come(tmp_path: Path) -> None:
    context = dialogs.certificate(tmp_path) or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def talk() -> None:
        wanted = config(Protocol.SMTP, "127.0.0.1:0")
        listener = await open_listener(wanted, FakeGate())
        (address,) = listener.addresses
        old = await Client.to(address, "127.0.0.2")
        await old.says("220 mail.example.org")
        listener.reload(
            replace(
                wanted,
                networks=Networks(parse_networks(["127.0.0.3"])),
                tls=context,
                hostname="new.example.org",
            )
        )
        old.writer.write(b"NOOP\r\n")
        await old.says("250")
        bad = await Client.to(address, "127.0.0.2")
        await bad.says("421 4.7.1")
        good = await Client.to(address, "127.0.0.3")
        await good.says("220 new.example.org")
        good.writer.write(b"EHLO c\r\n")
        offer = [await good.reader.readline() for _ in range(7)]
        assert offer[-1] == b"250 STARTTLS\r\n"
        for changed in (
            replace(wanted, address=InetAddress("127.0.0.1", 1)),
            replace(wanted, protocol=Protocol.LMTP),
            replace(wanted, mode=0o600),
        ):
            with pytest.raises(ListenError, match="needs a restart"):
                listener.reload(changed)
        await listener.close()

    run(talk())


def test_a_drain_lets_nobody_in_and_counts_what_does_not_end(tmp_path: Path) -> None:
    async def talk() -> None:
        gate = FakeGate(of_mails={"*": "waits"})
        listener = await open_listener(config(Protocol.LMTP, f"unix:{tmp_path}/s"), gate)
        (address,) = listener.addresses
        idle, busy = await Client.to(address), await Client.to(address)
        busy.writer.write(b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n")
        await gate.begun.wait()
        assert listener.stats().deliveries == 1
        left = await listener.drain(0.05)
        assert left == 2  # the session, and what it waits for
        await idle.says("220")
        await idle.says("421 4.3.2")
        await idle.ends()
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            await Client.to(address)
        gate.go.set()
        assert await listener.drain(10) == 0
        assert len(gate.got) == 1
        assert listener.stats().terminated == {"stopping": 2}
        await listener.close()

    run(talk())


def test_a_close_cuts_all_and_what_is_not_committed_is_not_acknowledged(tmp_path: Path) -> None:
    async def talk() -> None:
        gate = FakeGate(of_mails={"*": "waits"})
        listener = await open_listener(config(Protocol.LMTP, f"unix:{tmp_path}/s"), gate)
        client = await Client.to(listener.addresses[0])
        client.writer.write(b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n")
        await gate.begun.wait()
        await listener.close()
        await listener.close()
        said = b""
        with suppress(ConnectionError):
            said = await client.reader.read()
        assert b"stored" not in said
        assert gate.got == []
        assert listener.stats() == replace(
            listener.stats(), open=0, deliveries=0, memory=0, spool=0
        )

    run(talk())


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "tls"])
def test_what_is_sent_while_the_gate_works_is_held_back(tmp_path: Path, encrypted: bool) -> None:
    context = dialogs.certificate(tmp_path)
    if context is None:
        pytest.skip("no openssl to make a certificate with")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    async def talk() -> None:
        gate = FakeGate(of_mails={"*": "waits"})
        wanted = config(Protocol.LMTP, f"unix:{tmp_path}/s", context, commands=1 << 20)
        listener = await open_listener(wanted, gate)
        client = await Client.to(listener.addresses[0])
        await client.says("220")
        if encrypted:
            client.writer.write(b"STARTTLS\r\n")
            await client.says("220")
            await client.writer.start_tls(trust)
        client.writer.write(b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n")
        client.writer.write(b"NOOP\r\n" * 60_000 + b"QUIT\r\n")
        await gate.begun.wait()
        await asyncio.sleep(0.2)
        (session,) = listener._sessions._dialogs
        assert len(session._input._buffer) <= 2 * CHUNK_SIZE  # type: ignore[attr-defined]
        gate.go.set()
        replies = (await client.reader.read()).split(b"\r\n")
        assert replies.count(b"250 2.0.0 OK") == 60_000
        assert replies[-2:] == [b"221 2.0.0 closing connection", b""]
        await listener.close()

    run(talk())


def test_what_is_refused_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        wanted = config(Protocol.LMTP, f"unix:{tmp_path}/s", size=10, errors=1, connections=1)
        listener = await open_listener(wanted, FakeGate())
        client = await Client.to(listener.addresses[0])
        client.writer.write(b"LHLO \x1b[2Jc\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        while not (await client.reader.readline()).startswith(b"354"):
            pass
        second = await Client.to(listener.addresses[0])
        await second.says("421 4.3.2")
        client.writer.write(b"x" * 15 + b"\r\n.\r\nNONSENSE\r\n")
        await client.says("552")
        await client.says("500")
        await client.says("421 4.7.0")
        await listener.close()

    with caplog.at_level("INFO", "ingest"):
        run(talk())
    said = {record.getMessage(): vars(record)["values"] for record in caplog.records}
    assert said == {
        "connection-refused": {"source": "lmtp unix", "reason": "connections"},
        "session-terminated": {"source": "lmtp unix", "reason": "too-many-errors"},
        "rejected": {
            "source": "lmtp unix",
            "reason": "too-big",
            "size": 20,
            "helo": "?[2Jc",
            "sender": "a@x",
            "recipients": "b@x",
        },
    }


def test_the_replies_to_pipelined_commands_are_sent_before_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = []
    flush = Dialog._flush

    async def watched(self: Dialog) -> None:
        gathered.append(len(self._replies))
        await flush(self)

    monkeypatch.setattr(Dialog, "_flush", watched)

    async def talk() -> None:
        listener = await open_listener(config(Protocol.LMTP, f"unix:{tmp_path}/s"), FakeGate())
        client = await Client.to(listener.addresses[0])
        client.writer.write(b"LHLO c\r\n" * 2000 + b"QUIT\r\n")
        replies = await client.reader.read()
        assert replies.count(b"250 SIZE") == 2000
        await listener.close()

    run(talk())
    assert 1 << 14 <= max(gathered) < 1 << 15


def test_deliveries_whose_clients_are_gone_are_capped_too() -> None:
    async def talk() -> None:
        gate = FakeGate(of_mails={"*": "waits"})
        listener = await open_listener(config(Protocol.LMTP, "127.0.0.1:0", connections=3), gate)
        mail = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n"
        for count in range(1, 4):
            client = await Client.to(listener.addresses[0])
            client.writer.write(b"LHLO c\r\n" + mail)
            while listener.stats().deliveries < count:
                await asyncio.sleep(0.005)
            reset = struct.pack("ii", 1, 0)  # a close is a half-close for the server
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, reset
            )
            client.close()
        while listener.stats().open:
            await asyncio.sleep(0.005)
        client = await Client.to(listener.addresses[0])
        client.writer.write(b"LHLO c\r\n" + mail)
        while not (await client.reader.readline()).startswith(b"354"):
            pass
        await client.says("451 4.3.1")
        assert listener.stats().deliveries == 3
        gate.go.set()
        client.writer.write(mail)
        while not (await client.reader.readline()).startswith(b"354"):
            pass
        await client.says("250 2.0.0")
        assert len(gate.got) == 4
        await listener.close()

    run(talk())


def test_a_thousand_recipients_and_one_more(tmp_path: Path) -> None:
    async def talk() -> None:
        gate = FakeGate()
        wanted = config(Protocol.LMTP, f"unix:{tmp_path}/s", recipients=1000)
        listener = await open_listener(wanted, gate)
        client = await Client.to(listener.addresses[0])
        client.writer.write(b"LHLO c\r\nMAIL FROM:<a@x>\r\n" + b"RCPT TO:<b@x>\r\n" * 1001)
        client.writer.write(b"DATA\r\n")
        replies = []
        while not replies or not replies[-1].startswith(b"354"):
            replies.append(await client.reader.readline())
        assert sum(reply.startswith(b"250 2.1.5") for reply in replies) == 1000
        assert sum(reply.startswith(b"452 4.5.3") for reply in replies) == 1
        client.writer.write(b"x\r\n.\r\nNOOP\r\n")
        for _ in range(1000):
            await client.says("250 2.0.0 message stored")
        await client.says("250 2.0.0 OK")
        assert len(gate.got[0].envelope.recipients) == 1000
        assert listener.stats().outcomes == {"accepted": 1000}
        await listener.close()

    run(talk())


def test_the_envelope_says_how_it_came(tmp_path: Path) -> None:
    context = dialogs.certificate(tmp_path)
    if context is None:
        pytest.skip("no openssl to make a certificate with")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    async def talk() -> None:
        gate = FakeGate()
        listener = await open_listener(config(Protocol.SMTP, "127.0.0.1:0", context), gate)
        client = await Client.to(listener.addresses[0], "127.0.0.9")
        await client.says("220")
        client.writer.write(b"STARTTLS\r\n")
        await client.says("220")
        await client.writer.start_tls(trust)
        client.writer.write(
            b"EHLO \x1bevil\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
        )
        assert (await client.reader.read()).endswith(b"221 2.0.0 closing connection\r\n")
        envelope = gate.got[0].envelope
        assert (envelope.protocol, envelope.peer, envelope.helo) == ("smtp", "127.0.0.9", "?evil")
        assert (envelope.sender, envelope.recipients, envelope.tls) == ("", ("b@x",), True)
        await listener.close()

    run(talk())


def test_a_handshake_that_fails_or_never_comes_leaves_nothing(tmp_path: Path) -> None:
    context = dialogs.certificate(tmp_path)
    if context is None:
        pytest.skip("no openssl to make a certificate with")

    async def talk() -> None:
        listener = await open_listener(
            config(Protocol.SMTP, "127.0.0.1:0", context, handshake_timeout=0.1), FakeGate()
        )
        for sent in (b"EHLO in the clear\r\n" * 5, b""):
            client = await Client.to(listener.addresses[0])
            await client.says("220")
            client.writer.write(b"STARTTLS\r\n")
            await client.says("220")
            client.writer.write(sent)
            while listener.stats().open:
                await asyncio.sleep(0.005)
            client.close()
        assert listener.stats().terminated == {"tls-failed": 2}
        await listener.close()

    run(talk())


def test_every_outcome_has_a_reply() -> None:
    for why in DeliveryReason:
        assert replies.format_reply(why)
    for key, (code, text) in replies.REPLIES.items():
        line = replies.format_reply(key)
        assert replies.sanitize_reply(line) == line
        assert code == 354 or replies.has_enhanced_code(text)
        assert code == 354 or text[0] == str(code)[0]


def test_every_reply_that_is_named_is_there() -> None:
    """The names are read from the sources: a missing one would be a 451 when it is needed."""
    named = set()
    for module in ("protocol", "commands", "sessions", "dot_stuffing"):
        text = (Path(replies.__file__).parent / f"{module}.py").read_text()
        named |= set(
            re.findall(
                r'(?:format_reply|_refuse_command|_terminate|Error|_fail)\(\s*"([a-z-]+)"', text
            )
        )
        named |= set(re.findall(r'reason = "([a-z-]+)"', text))
        events = set(re.findall(r'(?:\blog|_log\.[a-z]+|_note_termination)\(\s*"([a-z-]+)"', text))
        named |= set(re.findall(r'"([a-z]+-[a-z-]+)"', text)) - events - {"utf-8"}
    assert len(named) > 25
    assert named <= set(replies.REPLIES)
