"""Test the notices to systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.daemon.monitoring.sd_notify import (
    Alive,
    Notice,
    Ready,
    Reloading,
    Status,
    Stopping,
    datagram,
    notify,
    watchdog_seconds,
)

SAID: list[tuple[Notice, bytes]] = [
    (Ready(), b"READY=1"),
    (Ready("12 lists"), b"READY=1\nSTATUS=12 lists"),
    (Reloading(123_456), b"RELOADING=1\nMONOTONIC_USEC=123456"),
    (Stopping(), b"STOPPING=1"),
    (Stopping("3 mails"), b"STOPPING=1\nSTATUS=3 mails"),
    (Status("3 wait"), b"STATUS=3 wait"),
    (Status("a\nMAINPID=1\r\n b"), b"STATUS=a MAINPID=1 b"),
    (Status("größer"), "STATUS=größer".encode()),
    (Status(" \n"), b""),
    (Alive(), b"WATCHDOG=1"),
]


@pytest.mark.parametrize(("notice", "said"), SAID)
def test_the_text_of_notices(notice: Notice, said: bytes) -> None:
    assert datagram(notice) == said


@pytest.mark.parametrize("abstract", [False, True])
def test_a_notice_is_received(tmp_path: Path, abstract: bool) -> None:
    name = f"@ingest-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(10)
        assert notify(Ready("fine"), {"NOTIFY_SOCKET": name})
        assert systemd.recv(100) == b"READY=1\nSTATUS=fine"


def test_a_notice_without_a_receiver(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in ("", "vsock:2:1234", "x", str(tmp_path / "none"), str(tmp_path / "file")):
        assert not notify(Ready(), {"NOTIFY_SOCKET": where})
    assert not notify(Ready(), {})


def test_a_full_socket_does_not_block_the_daemon(tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(environ["NOTIFY_SOCKET"])
        sent = [notify(Alive(), environ) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": "7"}, None),
    ],
)
def test_the_interval_of_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ, pid=7) == seconds


def test_the_environment_of_the_process_is_the_default(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(10)
        code = "from ingest.daemon.monitoring.sd_notify import *; assert notify(Alive())"
        environ = os.environ | {"NOTIFY_SOCKET": name}
        subprocess.run([sys.executable, "-c", code], env=environ, check=True)
        assert systemd.recv(100) == b"WATCHDOG=1"
