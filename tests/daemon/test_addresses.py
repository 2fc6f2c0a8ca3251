"""Test which addresses the daemon binds, and which sockets of systemd it takes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ingest.config.settings import Config, ServeConfig
from ingest.config.sockets import InetAddress, UnixAddress
from ingest.daemon import addresses
from ingest.daemon.addresses import bind_listeners
from ingest.net import systemd_sockets
from ingest.net.bind import ListenError

LOOPBACK = InetAddress("127.0.0.1", 0)


def serving(tmp_path: Path, **more: object) -> Config:
    settings = {"lmtp": (UnixAddress(f"{tmp_path}/s"),), "smtp": (LOOPBACK,), **more}
    return Config(serve=ServeConfig(**settings))  # type: ignore[arg-type]


def test_sockets_of_a_name_that_is_no_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as handed:
        handed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(addresses, "_take_systemd_sockets", lambda _: {"http": [handed]})
        with pytest.raises(ListenError, match="named http"):
            bind_listeners(serving(tmp_path), {})


def test_a_descriptor_that_is_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(_: int) -> socket.socket:
        raise OSError(88, "Socket operation on non-socket")

    monkeypatch.setattr(systemd_sockets, "take_socket", take)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "lmtp"}
    with pytest.raises(
        ListenError, match="descriptor 3, passed by systemd as lmtp: Socket operation"
    ):
        bind_listeners(serving(tmp_path), environ)


def test_a_datagram_socket_from_systemd_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "lmtp"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        monkeypatch.setattr(systemd_sockets, "take_socket", lambda _: sock)
        with pytest.raises(ListenError, match="passed by systemd as lmtp is no stream socket"):
            bind_listeners(serving(tmp_path), environ)


def test_no_address_stays_bound_if_one_cannot_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = InetAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ListenError, match="in use"):
            bind_listeners(serving(tmp_path, smtp=(address,)), {})
    assert not (tmp_path / "s").exists()
