"""The unit files: systemd understands them, and they leave a service little to do harm with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ingest.config import ServeConfig
from ingest.daemon.serve import LONGEST_END
from ingest.pipe import DEFAULT_SOCKET
from ingest.setting import UnixAddress
from tests.conftest import ROOT

UNITS = sorted((ROOT / "systemd").iterdir())
SERVICES = [one for one in UNITS if one.suffix == ".service"]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt install systemd"
)


def settings(unit: Path) -> list[tuple[str, str]]:
    lines = unit.read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#["]
    return [(key, value) for key, _, value in pairs]


@needs_systemd
def test_systemd_understands_them(tmp_path: Path) -> None:
    for unit in UNITS:
        # The program need not be installed for this, and an instance needs its name.
        text = unit.read_text().replace("/opt/ingest/bin/ingest", "/bin/true")
        (tmp_path / unit.name.replace("@", "@linux-ext4")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(one) for one in tmp_path.iterdir())],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
def test_they_are_hardened(service: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(service)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= 1.2


def test_what_the_daemon_relies_on() -> None:
    unit = settings(ROOT / "systemd" / "ingest.service")
    for wanted in (
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecStartPre", "/opt/ingest/bin/ingest check --start"),
        ("ExecStart", "/opt/ingest/bin/ingest serve"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("LoadCredential", "database:/etc/ingest/database"),
        ("KillMode", "mixed"),  # SIGTERM to the daemon alone: it ends its workers when it is done
        ("OOMPolicy", "continue"),
        ("RuntimeDirectoryPreserve", "yes"),  # or stopping would remove systemd's socket
        ("SystemCallFilter", "setrlimit prlimit64"),  # after @resources is taken away
    ):
        assert wanted in unit
    assert any(key == "WatchdogSec" for key, _ in unit)


def test_the_daemon_is_not_killed_while_it_ends_by_itself() -> None:
    """What is cut off at the end of a drain is cut off in order; SIGKILL is for what hangs."""
    unit = dict(settings(ROOT / "systemd" / "ingest.service"))
    assert unit["TimeoutStopSec"].isdigit(), "seconds"
    assert LONGEST_END == 75
    # A margin for what has no time of its own: processes to reap, connections to close.
    assert int(unit["TimeoutStopSec"]) >= LONGEST_END + 15


def test_one_socket_for_all() -> None:
    (unit,) = [v for k, v in settings(ROOT / "systemd" / "ingest.socket") if k == "ListenStream"]
    assert unit == DEFAULT_SOCKET
    assert ServeConfig().lmtp == (UnixAddress(DEFAULT_SOCKET),)
