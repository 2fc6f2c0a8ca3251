"""Test a listener under load: endless mails, idle and slow clients, clients that never read.

The listener is a separate process, so that its memory can be measured. Real clients are tested too.
"""

from __future__ import annotations

import hashlib
import json
import resource
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import environment
from tests.support.paths import ROOT

MIB = 1 << 20
BEGIN = b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"


@dataclass
class Server:
    process: subprocess.Popen[str]
    address: str
    said: str = ""  # what it may say on standard error

    def connect(self) -> socket.socket:
        if self.address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(60)
            sock.connect(self.address[5:])
            return sock
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def peak(self) -> int:
        """The most memory that the process has used, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def mail(self) -> tuple[int, str]:
        """Return size and digest of the next accepted mail."""
        assert self.process.stdout is not None
        size, digest = self.process.stdout.readline().split()
        return int(size), digest


@contextmanager
def serving(
    protocol: str,
    address: str,
    *,
    before: Sequence[str] = (),
    keep: Sequence[int] = (),
    **limits: object,
) -> Iterator[Server]:
    words = [
        sys.executable,
        "-m",
        "tests.support.wire_server",
        protocol,
        address,
        json.dumps(limits),
    ]
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed below)
    process = subprocess.Popen(
        [*before, *words],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        pass_fds=keep,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        server = Server(process, process.stdout.readline().strip())
        yield server
        process.stdin.close()
        status = process.wait(30)
        errors.seek(0)
        said = errors.read()  # asyncio logs uncaught exceptions there
        assert status == 0, said
        assert server.said in said if server.said else said == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        errors.close()


def replies_until(sock: socket.socket, start: bytes) -> list[bytes]:
    """Return the lines up to one that begins with this."""
    held = b""
    while True:
        lines = held.split(b"\r\n")
        for index, line in enumerate(lines[:-1]):
            if line.startswith(start):
                return lines[: index + 1]
        more = sock.recv(65536)
        assert more, held
        held += more


def repeated(piece: bytes, size: int) -> Iterator[bytes]:
    block = piece * (MIB // len(piece))
    for _ in range(size // len(block)):
        yield block


SHAPES = {"one endless line": b"x", "lines of two bytes": b"x\n", "empty lines": b"\r\n",
          "lines of a dot": b"\r\n.."}  # fmt: skip


@pytest.mark.parametrize("shape", ["one endless line", "empty lines", "lines of a dot"])
def test_large_mails_of_any_shape_in_little_memory(tmp_path: Path, shape: str) -> None:
    take(tmp_path, SHAPES[shape], 30 * MIB)


@pytest.mark.torture
@pytest.mark.parametrize("shape", SHAPES)
def test_very_large_mails_of_any_shape_in_little_memory(tmp_path: Path, shape: str) -> None:
    """200 MiB: lines of two bytes, a hundred million lines."""
    take(tmp_path, SHAPES[shape], 200 * MIB)


def take(folder: Path, piece: bytes, size: int) -> None:
    """Check that such a mail is accepted as a whole, and that a larger one is refused in the same
    session."""
    whole = hashlib.sha256()
    for block in repeated(piece, size):
        whole.update(block.replace(b"\r\n..", b"\r\n."))
    whole.update(b"\r\n")
    with serving("lmtp", f"unix:{folder}/s", size=size + 2, spool=str(folder)) as server:
        with server.connect() as sock:
            sock.sendall(BEGIN)
            replies_until(sock, b"354")
            for block in repeated(piece, size):
                sock.sendall(block)
            sock.sendall(b"\r\n.\r\n")
            assert replies_until(sock, b"250 2.0.0")
            assert server.mail()[1] == whole.hexdigest()
            sock.sendall(BEGIN)
            replies_until(sock, b"354")
            for block in repeated(piece, size * 9 // 5):
                sock.sendall(block)
            sock.sendall(b"\r\n.\r\nQUIT\r\n")
            assert replies_until(sock, b"221")[0].startswith(b"552 5.3.4")
        assert server.peak() < 150 * MIB


@pytest.mark.parametrize("size", [30 * MIB, pytest.param(200 * MIB, marks=pytest.mark.torture)])
def test_a_line_without_end_is_cut_at_twice_the_limit(tmp_path: Path, size: int) -> None:
    with serving("lmtp", f"unix:{tmp_path}/s", size=size // 3, spool=str(tmp_path)) as server:
        with server.connect() as sock:
            sock.sendall(BEGIN)
            replies_until(sock, b"354")
            for block in repeated(b"x", size):
                sock.sendall(block)
            assert replies_until(sock, b"421 4.3.4")
        assert server.peak() < 150 * MIB


def test_many_large_mails_at_a_time_share_the_memory(tmp_path: Path) -> None:
    limits = {"total_memory": 4 * MIB, "spool": str(tmp_path)}
    with serving("lmtp", f"unix:{tmp_path}/s", **limits) as server, ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(60)]
        for sock in socks:
            sock.sendall(BEGIN)
            replies_until(sock, b"354")
        for sock in socks:
            sock.sendall(b"x" * (MIB - 10))
        for sock in socks:
            sock.sendall(b"\r\n.\r\n")
            replies_until(sock, b"250 2.0.0")
        assert {server.mail()[0] for _ in socks} == {MIB - 8}
        assert server.peak() < 80 * MIB


def test_a_good_client_among_idle_and_slow_ones(tmp_path: Path) -> None:
    """There are 1,000 silent clients, and 100 that send one byte of a mail now and then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        limits = {"connections_per_address": 2000, "connections": 1102, "spool": str(tmp_path)}
        with serving("smtp", "127.0.0.1:0", **limits) as server, ExitStack() as stack:
            idle = [stack.enter_context(server.connect()) for _ in range(1000)]
            slow = [stack.enter_context(server.connect()) for _ in range(100)]
            for sock in slow:
                sock.sendall(BEGIN.replace(b"LHLO", b"EHLO"))
                replies_until(sock, b"354")
            for sock in slow:
                sock.sendall(b"x")
            for _ in range(3):
                start = time.monotonic()
                host, _, port = server.address.rpartition(":")
                with smtplib.SMTP(host, int(port), local_hostname="c", timeout=20) as client:
                    assert client.sendmail("a@x", ["b@x"], b"Subject: x\r\n\r\nx\r\n") == {}
                assert time.monotonic() - start < 2
                for sock in slow:
                    sock.sendall(b"x")
            stack.enter_context(server.connect())
            stack.enter_context(server.connect())
            with server.connect() as sock:
                assert replies_until(sock, b"421 4.3.2")
                assert sock.recv(100) == b""
            idle[0].close()
            time.sleep(0.2)
            with server.connect() as sock:
                assert replies_until(sock, b"220")
            for sock in idle[1:]:
                sock.close()
            for sock in slow:
                sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_that_vanish_in_every_way(tmp_path: Path) -> None:
    """Connections are closed with unread replies, reset, or half closed: no exception, and none
    is left."""
    ends = [
        b"",
        b"QUIT\r\n",
        b"NOOP\r\n" * 3000,
        BEGIN,
        BEGIN + b"x\r\n.\r\nQUIT\r\n",
        b"NOP\r\n" * 50,
    ]
    with serving("lmtp", "127.0.0.1:0", spool=str(tmp_path)) as server:
        for _ in range(5):
            for sent in ends:
                for how in ("close", "reset", "half", "read"):
                    sock = server.connect()
                    if how == "read":
                        assert replies_until(sock, b"220")
                    sock.sendall(sent)
                    if how == "half":
                        sock.shutdown(socket.SHUT_WR)
                    if how == "reset":
                        linger = struct.pack("ii", 1, 0)
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    sock.close()
        with server.connect() as sock:
            sock.sendall(BEGIN + b"last\r\n.\r\nQUIT\r\n")
            assert replies_until(sock, b"221")[-2].startswith(b"250 2.0.0")


def test_without_open_files_connections_wait_and_mail_is_put_off(tmp_path: Path) -> None:
    few = ["bash", "-c", 'ulimit -n 40; exec "$@"', "bash"]
    with serving("smtp", "127.0.0.1:0", before=few, memory=100, spool=str(tmp_path)) as server:
        with server.connect() as first:
            socks = []
            first.sendall(BEGIN.replace(b"LHLO", b"EHLO"))
            replies_until(first, b"354")
            while True:
                sock = server.connect()
                sock.settimeout(0.3)
                socks.append(sock)
                try:
                    sock.recv(100)
                except TimeoutError:
                    break  # it waits in the kernel
            assert len(socks) < 40
            first.sendall(b"x\r\n" * 1000 + b".\r\n")
            assert replies_until(first, b"452 4.3.1")
            for sock in socks:
                sock.close()
            with server.connect() as sock:
                sock.sendall(BEGIN.replace(b"LHLO", b"EHLO") + b"x\r\n" * 1000 + b".\r\nQUIT\r\n")
                assert replies_until(sock, b"221")[-2].startswith(b"250 2.0.0")
        server.said = "out of system resource"


def test_a_slowloris_is_cut(tmp_path: Path) -> None:
    limits = {"grace": 0.3, "rate": 1000, "spool": str(tmp_path)}
    with serving("lmtp", f"unix:{tmp_path}/s", **limits) as server, server.connect() as sock:
        sock.sendall(BEGIN)
        replies_until(sock, b"354")
        sock.settimeout(0.02)
        reply = b""
        for _ in range(500):
            sock.sendall(b"x")
            try:
                reply = sock.recv(1000)
                break
            except TimeoutError:
                continue
        assert reply.startswith(b"421 4.4.2 transfer too slow")


def test_a_peer_that_never_reads_is_cut(tmp_path: Path) -> None:
    limits = {"reply_timeout": 0.3, "commands": 10**6, "spool": str(tmp_path)}
    with serving("lmtp", f"unix:{tmp_path}/s", **limits) as server, server.connect() as sock:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            sock.sendall(b"HELP\r\n" * 2_000_000)
        assert server.peak() < 80 * MIB


CLIENTS = [
    (protocol, where)
    for where in ("127.0.0.1:0", "[::1]:0", "localhost:0", "unix")
    for protocol in ("smtp", "lmtp")
    if (protocol, where) != ("smtp", "unix")  # smtplib speaks SMTP over TCP only
]


@pytest.mark.parametrize(("protocol", "where"), CLIENTS)
def test_the_clients_of_the_standard_library(tmp_path: Path, protocol: str, where: str) -> None:
    if where.startswith("["):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")
    address = f"unix:{tmp_path}/s" if where == "unix" else where
    content = b"Subject: x\r\n\r\n.dot\r\n..\r\n" + b"\xc3\xa4" * 600 + b"\r\n"
    with serving(protocol, address, spool=str(tmp_path)) as server:
        first = server.address.split()[0]
        host, port = first[5:], 0
        if where != "unix":
            host, _, number = first.rpartition(":")
            host, port = host.strip("[]"), int(number)
        kind = smtplib.SMTP if protocol == "smtp" else smtplib.LMTP
        with kind(host, port, local_hostname="c") as client:
            for _ in range(3):
                # smtplib's LMTP reads one reply after a mail, however many recipients it has.
                to = ["b@x", "c@x", "b@x"] if protocol == "smtp" else ["b@x"]
                assert client.sendmail("a@x", to, content, ["BODY=8BITMIME"]) == {}
                assert server.mail() == (len(content), hashlib.sha256(content).hexdigest())
            assert client.noop()[0] == 250
            assert client.verify("b@x")[0] == 252
            with pytest.raises(smtplib.SMTPSenderRefused) as refused:
                client.sendmail("a@x", ["b@x"], content, ["SIZE=99999999999"])
            assert refused.value.smtp_code == 552


def test_sockets_that_are_handed_over(tmp_path: Path) -> None:
    """As systemd passes them: descriptor 3, and its purpose in the environment."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        number = sock.fileno()
        shell = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=lmtp; exec "$@" 3<&{number}'
        before = ["bash", "-c", shell, "bash"]
        with serving("lmtp", "handed", before=before, keep=[number], spool=str(tmp_path)) as server:
            assert server.address == f"unix:{path}"
            with smtplib.LMTP(str(path), local_hostname="c") as client:
                assert client.sendmail("a@x", ["b@x"], b"x\r\n") == {}
        # The socket belongs to systemd, and so do the connections that wait in it.
        assert path.exists()
