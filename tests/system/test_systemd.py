"""Test that systemd accepts the unit files, and that they restrict the services."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ingest.config.settings import ServeConfig
from ingest.config.sockets import UnixAddress
from ingest.daemon.jobs.limits import MAX_SHUTDOWN
from ingest.store.database.engine import open_store
from ingest.submit.pipe import DEFAULT_SOCKET
from tests.support import mails
from tests.support.command import ingest
from tests.support.paths import ROOT

UNITS = sorted((ROOT / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
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
        ["systemd-analyze", "verify", "--man=no", *(str(path) for path in tmp_path.iterdir())],
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
    """The daemon itself ends what exceeds the time to drain; SIGKILL is for hanging processes."""
    unit = dict(settings(ROOT / "systemd" / "ingest.service"))
    assert unit["TimeoutStopSec"].isdigit(), "seconds"
    assert MAX_SHUTDOWN == 81
    # A margin for reaping processes and closing connections.
    assert int(unit["TimeoutStopSec"]) >= MAX_SHUTDOWN + 15


def test_a_replay_has_the_configuration_and_the_credential_of_the_daemon(tmp_path: Path) -> None:
    """As the unit runs it, unconfigured lists are ignored, and the mailmap is used."""
    daemon, replay = (
        settings(ROOT / "systemd" / f"ingest{suffix}.service") for suffix in ("", "-replay@")
    )
    shared = [line for line in daemon if line[0] in ("Environment", "LoadCredential", "User")]
    assert [
        line for line in replay if line[0] in ("Environment", "LoadCredential", "User")
    ] == shared
    assert "INGEST_DATABASE" not in (ROOT / "systemd" / "ingest-replay@.service").read_text()

    (tmp_path / "mailmap").write_text("Ada Renamed <ada@example.org> <ada@example.com>\n")
    (tmp_path / "ingest.toml").write_text(
        f"[lists.dev]\nlist_id = '{mails.LIST}'\n[trust]\nmailmap = '{tmp_path}/mailmap'\n"
    )
    (tmp_path / "credentials").mkdir()
    store = tmp_path / "given.db"
    (tmp_path / "credentials" / "database").write_text(f"sqlite:///{store}\n")
    sender = "Ada <ada@example.com>"
    archive = [
        mails.patch("in@example.org", sender=sender),
        mails.patch("out@example.org", name="o", sender=sender, list_id="other.example.org"),
    ]
    (tmp_path / "a.mbox").write_bytes(mails.mbox(archive))
    given = {
        "SOURCE": str(tmp_path / "a.mbox"),
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }
    for key, value in replay:
        if key == "Environment":
            name, _, path = value.partition("=")
            given[name] = path.replace("/etc/ingest", str(tmp_path))
    words = dict(replay)["ExecStart"].replace("${SOURCE}", given["SOURCE"]).split()
    assert words[0] == "/opt/ingest/bin/ingest"
    done = ingest(*words[1:], cwd=tmp_path, env=given)
    assert (done.returncode, done.stderr) == (0, b""), done
    engine = open_store(f"sqlite:///{store}")
    exported = mails.exported(engine)
    engine.dispose()
    assert "in@example.org" in exported
    assert "Ada Renamed" in exported
    assert "other.example.org" not in exported


def test_one_socket_for_all() -> None:
    (unit,) = [v for k, v in settings(ROOT / "systemd" / "ingest.socket") if k == "ListenStream"]
    assert unit == DEFAULT_SOCKET
    assert ServeConfig().lmtp == (UnixAddress(DEFAULT_SOCKET),)
