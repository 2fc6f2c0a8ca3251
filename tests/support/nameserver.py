"""A name server of the tests' own on loopback: honest, silent, failing or lying, over UDP and TCP.

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
    """Where it listens, and every question it heard, as (protocol, name)."""

    port: int
    queries: list[tuple[str, str]] = field(default_factory=list)

    @property
    def servers(self) -> Servers:
        return Servers((InetAddress("127.0.0.1", self.port),))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.queries]


def texts(*records: str | list[str], ttl: int = 300) -> Say:
    """TXT records; a list is one record of several strings, and long text is parted into them."""

    def say(question: dns.message.Message) -> list[dns.message.Message | bytes]:
        answer = dns.message.make_response(question)
        name = question.question[0].name
        data = [_strings([one] if isinstance(one, str) else one) for one in records]
        answer.answer.append(dns.rrset.from_text_list(name, ttl, "IN", "TXT", data))
        return [answer]

    return say


def fails(code: int = dns.rcode.SERVFAIL, *, soa_minimum: int | None = None) -> Say:
    """An error, or NOERROR without an answer."""

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
    """Before the right answer: another id, another name, and noise."""

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
    """Serve the zone until the block is left; names that are not in it do not exist."""
    udp, tcp = _listen()
    server = Nameserver(udp.server_address[1])
    for one in (udp, tcp):
        one.daemon_threads = True  # type: ignore[attr-defined]
        one.zone, one.queries = zone, server.queries  # type: ignore[attr-defined]
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,)) for one in (udp, tcp)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for one in (udp, tcp):
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


def _listen() -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
    """The same port for both; somebody else may have the one that UDP got."""
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
    for one in said:
        wire = one if isinstance(one, bytes) else one.to_wire(max_size=65_535)
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
    parted = [one[at : at + 255] for one in pieces for at in range(0, max(len(one), 1), 255)]
    return " ".join('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in parted)
