"""Test that limits apply to the client that trusted proxies name, not to one that a client
names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.api.middleware.proxies import Proxies, client_of
from ingest.api.server import ApiServer
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import InetAddress
from ingest.store.database.engine import open_store

LOOPBACK = ApiConfig().trusted_proxies
TRUSTED = (*LOOPBACK, ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1,203.0.113.9,192.0.2.7", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 2001:db8:1::1, 192.0.2.7", "203.0.113.9"),
        ("192.0.2.8, 192.0.2.7", "192.0.2.8"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("198.51.100.1, [2001:DB8:2::0:1]:4711", "2001:db8:2::1"),
        ("[2001:db8:2::1]", "2001:db8:2::1"),
        ("2001:0db8:0002:0000:0000:0000:0000:0001", "2001:db8:2::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:192.0.2.7", "203.0.113.9"),
        # Text that is no address is ignored: the limit applies to the proxy that wrote it.
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("203.0.113.9, ", "127.0.0.1"),
        ("203.0.113.9, [2001:db8:2::1", "127.0.0.1"),
        ("203.0.113.9, [2001:db8:2::1]x", "127.0.0.1"),
        ("203.0.113.9, 127.0.0.1.example.org", "127.0.0.1"),
        ("203.0.113.9, unknown, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, " + "1" * 10_000, "127.0.0.1"),
        ("203.0.113.9, \xe9\x00", "127.0.0.1"),
    ],
)
def test_the_rightmost_address_that_is_no_trusted_proxy_is_the_client(
    forwarded: str, client: str
) -> None:
    given = [address.strip() for address in forwarded.split(",")] if forwarded else []
    assert client_of("127.0.0.1", given, TRUSTED) == client


def test_a_row_of_trusted_addresses_is_followed_for_a_while() -> None:
    assert client_of("::1", ["192.0.2.1"] * 100_000, TRUSTED) == "192.0.2.1"


async def _seen(client: tuple[str, int] | None, *, by_unix_socket: bool = False) -> Any:
    seen: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.update(scope)

    headers = [
        (b"x-forwarded-for", b"198.51.100.1"),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"ftp, https"),
    ]
    scope = {"type": "http", "scheme": "http", "client": client, "headers": headers}
    await Proxies(app, lambda: LOOPBACK, by_unix_socket=by_unix_socket)(scope, None, None)  # type: ignore[arg-type]
    return seen["client"], seen["scheme"]


@pytest.mark.parametrize("peer", [("198.51.100.7", 9), ("localhost", 9), ("::2", 9), None])
def test_only_trusted_proxies_are_believed(peer: tuple[str, int] | None) -> None:
    """A TCP peer that has disconnected early has no address, and is not believed either."""
    assert asyncio.run(_seen(peer)) == (peer, "http")


@pytest.mark.parametrize("peer", [("127.0.0.9", 9), ("::1", 9), ("::ffff:127.0.0.1", 9)])
def test_a_trusted_proxy_is_believed(peer: tuple[str, int]) -> None:
    assert asyncio.run(_seen(peer)) == (("203.0.113.9", 0), "https")
    assert asyncio.run(_seen(None, by_unix_socket=True)) == (("203.0.113.9", 0), "https")


@contextmanager
def limited(folder: Path, **settings: Any) -> Iterator[str]:
    """Return a server that accepts bursts of three requests."""
    engine = open_store(f"sqlite:///{folder / 'store.db'}", create=True)
    made = ApiConfig(listen=InetAddress("127.0.0.1", 0), rate=1, burst=3, **settings)
    server = ApiServer(engine, lambda: Config(api=made))
    server.start()
    yield server.address
    server.stop()
    engine.dispose()


def statuses(address: str, *clients: str) -> list[int]:
    with httpx.Client() as client:
        return [
            client.get(f"{address}/api/", headers={"X-Forwarded-For": name}).status_code
            for name in clients
        ]


def test_addresses_that_a_client_makes_up_do_not_lift_its_limit(tmp_path: Path) -> None:
    with limited(tmp_path) as address:
        made_up = [f"198.51.100.{number}, 203.0.113.9" for number in range(100)]
        assert 429 in statuses(address, *made_up)
        assert statuses(address, "203.0.113.10") == [200]


def test_with_no_trusted_proxy_the_peer_is_the_client(tmp_path: Path) -> None:
    with limited(tmp_path, trusted_proxies=()) as address:
        assert 429 in statuses(address, *(f"198.51.100.{number}" for number in range(100)))
