"""Run a name server on loopback that is honest, silent, failing or lying, over UDP and TCP.

with nameserver({"s1._domainkey.example.org": texts("v=DKIM1; p=…")}) as server:
    Resolver(server.servers)
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from ingest.config.sockets import InetAddress
from ingest.trust.dns import Servers

Say = Callable[[dns.message.Message], list[dns.message.Message | bytes]]


@dataclass
class Nameserver:
    """Its port, and every query that it has received, as (protocol, name)."""

    port: int
    queries: list[tuple[str, str]] = field(default_factory=list)

    @property
    def servers(self) -> Servers:
        return Servers((InetAddress("127.0.0.1", self.port),))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.queries]


def texts(*records: str | list[str], ttl: int = 300) -> Say:
    """Return TXT records. A list is one record of several strings; long text is split into
    several."""

    def say(question: dns.message.Message) -> list[dns.message.Message | bytes]:
        answer = dns.message.make_response(question)
        name = question.question[0].name
        data = [_strings([record] if isinstance(record, str) else record) for record in records]
        answer.answer.append(dns.rrset.from_text_list(name, ttl, "IN", "TXT", data))
        return [answer]

    return say


def fails(code: int = dns.rcode.SERVFAIL, *, soa_minimum: int | None = None) -> Say:
    """Return an error, or NOERROR without an answer."""

    def say(question: dns.message.Message) -> list[dns.message.Message | bytes]:
        answer = dns.message.make_response(question)
        answer.set_rcode(code)
        if soa_minimum is not None:
            soa = f"ns.example. root.example. 1 2 3 4 {soa_minimum}"
            answer.authority.append(dns.rrset.from_text("example.", 900, "IN", "SOA", soa))
        return [answer]

    return say


def silent(_: dns.message.Message) -> list[dns.message.Message | bytes]:
    return []


def lies(honest: Say) -> Say:
    """Return false answers before the right one: with another id, another name, and noise."""

    def say(question: dns.message.Message) -> list[dns.message.Message | bytes]:
        (forged,) = texts("v=DKIM1; p=forged")(question)
        assert isinstance(forged, dns.message.Message)
        forged.id = (forged.id + 1) % 65_536
        other = dns.message.make_query("other.example", "TXT")
        other.id = question.id
        (elsewhere,) = texts("v=DKIM1; p=forged")(other)
        return [b"noise", forged, elsewhere, *honest(question)]

    return say


@contextmanager
def nameserver(zone: Mapping[str, Say]) -> Iterator[Nameserver]:
    """Serve the zone until the block ends. Names that are not in it do not exist."""
    udp, tcp = _listen()
    server = Nameserver(udp.server_address[1])
    for socket_ in (udp, tcp):
        socket_.daemon_threads = True  # type: ignore[attr-defined]
        socket_.zone, socket_.queries = zone, server.queries  # type: ignore[attr-defined]
    threads = [
        threading.Thread(target=socket_.serve_forever, args=(0.05,)) for socket_ in (udp, tcp)
    ]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for socket_ in (udp, tcp):
            socket_.shutdown()
            socket_.server_close()
        for thread in threads:
            thread.join()


def _listen() -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
    """Listen at the same port with both. Another process may have the TCP port of the UDP one."""
    for _ in range(100):
        udp = socketserver.ThreadingUDPServer(("127.0.0.1", 0), _Udp)
        try:
            return udp, socketserver.ThreadingTCPServer(udp.server_address, _Tcp)
        except OSError:
            udp.server_close()
    raise OSError("no port is free for both UDP and TCP")


def _answers(server: Any, packet: bytes, protocol: str) -> list[bytes]:
    question = dns.message.from_wire(packet)
    name = question.question[0].name.to_text(omit_final_dot=True)
    server.queries.append((protocol, name))
    said = server.zone.get(name, fails(dns.rcode.NXDOMAIN))(question)
    wires = []
    for answer in said:
        wire = answer if isinstance(answer, bytes) else answer.to_wire(max_size=65_535)
        if protocol == "udp" and len(wire) > 1_232:
            cut = dns.message.make_response(question)
            cut.flags |= dns.flags.TC
            wire = cut.to_wire()
        wires.append(wire)
    return wires


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        packet, back = self.request
        for wire in _answers(self.server, packet, "udp"):
            back.sendto(wire, self.client_address)


class _Tcp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        connection: socket.socket = self.request
        stream = connection.makefile("rb")
        (size,) = struct.unpack("!H", stream.read(2))
        for wire in _answers(self.server, stream.read(size), "tcp"):
            connection.sendall(struct.pack("!H", len(wire)) + wire)


def _strings(pieces: list[str]) -> str:
    parted = [piece[at : at + 255] for piece in pieces for at in range(0, max(len(piece), 1), 255)]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parted)
