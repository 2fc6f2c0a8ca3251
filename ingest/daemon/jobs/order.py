"""Name the jobs of the daemon, and what the parent passes to the process of a job.

A `JobOrder` is one line of JSON. Sockets and pipes are descriptors, which the process inherits
under the same numbers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ingest.config.sockets import SocketAddress, parse_socket
from ingest.net.bind import Endpoint
from ingest.smtp.limits import Protocol


class Job(StrEnum):
    """A job of the daemon. The order of the members is that of the report of their problems."""

    ACCEPT = "accept"
    DERIVE = "derive"
    API = "api"


@dataclass(frozen=True, slots=True)
class BoundListener:
    """The sockets of a listener. `address`: as configured; None for sockets of systemd."""

    protocol: Protocol
    address: SocketAddress | None
    endpoint: Endpoint

    @property
    def addresses(self) -> list[str]:
        """Return the addresses that it is bound to, each with its protocol."""
        return [f"{self.protocol} {address}" for address in self.endpoint.addresses]


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What the process of a job gets.

    `listeners` and `api` are bound. `wake` is a descriptor of the pipe from accept to derive:
    a byte in it means that mail is queued. `daemon` is a name that no other daemon has.
    """

    listeners: Sequence[BoundListener] = ()
    api: Endpoint | None = None
    wake: int | None = None
    daemon: str = ""

    @property
    def endpoints(self) -> list[Endpoint]:
        """Return everything that is bound."""
        return [
            *(item.endpoint for item in self.listeners),
            *([] if self.api is None else [self.api]),
        ]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors that the process must inherit."""
        numbers = [sock.fileno() for endpoint in self.endpoints for sock in endpoint.sockets]
        return (*numbers, *([] if self.wake is None else [self.wake]))

    def encode(self) -> bytes:
        """Return the order as a line."""
        order = {
            "listeners": [
                {
                    "protocol": item.protocol.value,
                    "address": None if item.address is None else str(item.address),
                    "endpoint": _encode_endpoint(item.endpoint),
                }
                for item in self.listeners
            ],
            "api": None if self.api is None else _encode_endpoint(self.api),
            "wake": self.wake,
            "daemon": self.daemon,
        }
        return json.dumps(order).encode() + b"\n"


def decode_order(line: bytes) -> JobOrder:
    """Return the order in a line. The sockets belong to this process from then on.

    A process that is restarted may be of a newer version than its parent: fields that the order may
    lack have the defaults of `JobOrder`.
    """
    order = json.loads(line)
    return JobOrder(
        listeners=tuple(
            BoundListener(
                Protocol(item["protocol"]),
                None if item["address"] is None else parse_socket(item["address"]),
                _decode_endpoint(item["endpoint"]),
            )
            for item in order["listeners"]
        ),
        api=None if order["api"] is None else _decode_endpoint(order["api"]),
        wake=order["wake"],
        daemon=order.get("daemon", ""),
    )


def _encode_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "descriptors": [sock.fileno() for sock in endpoint.sockets],
        "addresses": [str(address) for address in endpoint.addresses],
    }


def _decode_endpoint(endpoint: dict[str, Any]) -> Endpoint:
    """Return the endpoint. The parent removes the file of a Unix socket, not this process."""
    sockets = tuple(socket.socket(fileno=number) for number in endpoint["descriptors"])
    for sock in sockets:
        sock.set_inheritable(False)
    return Endpoint(sockets, tuple(map(parse_socket, endpoint["addresses"])))
