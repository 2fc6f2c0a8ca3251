"""Test which listeners the daemon opens, what a reload changes, and how many connections they
take."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from ingest.config.settings import Config, ServeConfig
from ingest.config.sockets import InetAddress, UnixAddress
from ingest.daemon import listeners
from ingest.daemon.addresses import bind_listeners
from ingest.daemon.listeners import Listeners
from ingest.smtp.server import ListenError
from tests.support.dialogs import FakeGate

LOOPBACK = InetAddress("127.0.0.1", 0)


def serving(tmp_path: Path, **more: object) -> Config:
    settings = {"lmtp": (UnixAddress(f"{tmp_path}/s"),), "smtp": (LOOPBACK,), **more}
    return Config(serve=ServeConfig(**settings))  # type: ignore[arg-type]


def gate() -> FakeGate:
    return FakeGate()


async def greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = await reader.readline()
    writer.close()
    return line


def test_addresses_protocols_and_a_reload(tmp_path: Path) -> None:
    async def run() -> None:
        made = Listeners(gate())
        config = serving(tmp_path, hostname="one.example.org")
        bound = bind_listeners(config, {})
        await made.open(config, bound)
        lmtp, smtp = [address for item in bound for address in item.addresses]
        assert lmtp == f"lmtp unix:{tmp_path}/s"
        assert smtp.startswith("smtp 127.0.0.1:")
        port = int(smtp.rpartition(":")[2])
        assert await greeting(port) == b"220 one.example.org ESMTP\r\n"
        # A reload changes names and networks, but no address and no protocol.
        made.reload(serving(tmp_path, hostname="two.example.org", smtp=(), socket_mode=0o600))
        assert await greeting(port) == b"220 two.example.org ESMTP\r\n"
        nowhere = Path("/nowhere")
        bad = serving(tmp_path, hostname="three", tls_certificate=nowhere, tls_key=nowhere)
        with pytest.raises(ListenError, match="cannot use /nowhere"):
            made.reload(bad)
        assert await greeting(port) == b"220 two.example.org ESMTP\r\n"
        made.reload(serving(tmp_path, allowed_networks=()))
        assert (await greeting(port)).startswith(b"421 4.7.1")
        assert {protocol: stats.accepted for protocol, stats in made.stats()} == {
            "lmtp": 0,
            "smtp": 3,
        }
        assert await made.drain(10) == 0
        await made.close()
        assert not (tmp_path / "s").exists()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("limits", "wanted", "places", "affordable", "raised"),
    [
        ((1024, 4096), 100, 2, 100, 1024),  # the limit is high enough
        ((1024, 65536), 2000, 1, 2000, 4128),  # the limit can be raised enough
        ((1024, 1024), 2000, 1, 448, 1024),
        ((1024, 2048), 2000, 3, 320, 2048),
        ((100, 100), 2000, 1, 1, 100),
        ((1024, resource.RLIM_INFINITY), 2000, 1, 2000, 4128),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2000, 1, 2000, None),
    ],
)
def test_no_more_connections_than_descriptors(
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    wanted: int,
    places: int,
    affordable: int,
    raised: int | None,
) -> None:
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: now.append(to))
    assert listeners._reserve_descriptors(wanted, listeners=places) == affordable
    assert now[-1][0] == (limits[0] if raised is None else raised)
