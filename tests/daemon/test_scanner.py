"""Test that the daemon scans repositories at an interval, and when a hook of git requests it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ingest.store import schema
from ingest.store.commits.notify import request_scan_quickly
from ingest.store.commits.repositories import read_requests, request_scan
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.command import environment, ingest_ok
from tests.support.daemon import DaemonProcess, served
from tests.support.landing import MASTER, LandingRepository, base, changed
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("git_program")


@pytest.fixture
def repository(tmp_path: Path) -> LandingRepository:
    repository = LandingRepository(tmp_path)
    base(repository)
    return repository


@pytest.fixture
def stored(database_url: str) -> Iterator[Engine]:
    """Return a store with a patch."""
    engine = open_store(database_url, create=True)
    mails.store(engine, [mails.patch("p@example.org")])
    yield engine
    engine.dispose()


def lists(repository: LandingRepository) -> list[str]:
    refs = f'{{ {json.dumps(MASTER)} = "accepted" }}'
    return [
        f"[lists.dev]\nlist_id = {json.dumps(mails.LIST)}",
        f"[[lists.dev.repositories]]\npath = {json.dumps(str(repository.path))}\nrefs = {refs}",
    ]


def commit_of_patch(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.execute(select(schema.patch.c.commit_ref)).scalar_one()


def test_a_hook_that_notifies_the_daemon(
    stored: Engine, database_url: str, repository: LandingRepository, folder: Path
) -> None:
    settings = ["scan_interval = 3600"]
    daemon = DaemonProcess(folder, database_url, settings=settings, lists=lists(repository))
    hook = repository.path / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ingest", "--database", database_url]
    words = [*command, "--config", str(daemon.config), "scan-commits", "--notify"]
    hook.write_text(f"#!/bin/sh\ncd {Path.cwd()}\nexec {shlex.join(words)}\n")
    hook.chmod(0o755)
    work = folder / "work"
    with served(daemon):
        until(lambda: daemon.lines("scanned"), "the first scan")
        start = repository.run("rev-parse", MASTER)
        branch = "refs/heads/topic"
        topic = repository.commit("fs: change\n", {"f.c": changed()}, ref=branch, parents=[start])
        subprocess.run(["git", "clone", "-q", str(repository.path), str(work)], check=True)
        push = ["git", "-C", str(work), "push", "-q", "origin", f"{topic}:master"]
        subprocess.run(["git", "-C", str(work), "fetch", "-q", "origin", "topic"], check=True)
        subprocess.run(push, check=True, env=environment())
        until(lambda: commit_of_patch(stored) == topic, "the state of the patch")


def test_a_scan_at_an_interval(
    stored: Engine, database_url: str, repository: LandingRepository, folder: Path
) -> None:
    settings = ["scan_interval = 0.2"]
    daemon = DaemonProcess(folder, database_url, settings=settings, lists=lists(repository))
    with served(daemon):
        commit = repository.commit("fs: change\n", {"f.c": changed()})
        until(lambda: commit_of_patch(stored) == commit, "the state of the patch")
        mails.store(stored, [mails.patch("q@example.org", "[PATCH] other", name="g")])
        repository.set_ref(MASTER, f"{commit}^")
        until(lambda: commit_of_first(stored) is None, "the state is given back")


def commit_of_first(engine: Engine) -> str | None:
    with engine.connect() as connection:
        query = select(schema.patch.c.commit_ref).order_by(schema.patch.c.message_id)
        return connection.execute(query).scalars().first()


def test_a_scanner_that_dies_is_started_again_and_a_reload_adds_repositories(
    stored: Engine, database_url: str, repository: LandingRepository, folder: Path
) -> None:
    daemon = DaemonProcess(folder, database_url, settings=["scan_interval = 0.2"])
    with served(daemon):
        assert scanners(daemon) == []
        daemon.configure(["scan_interval = 0.2"], lists(repository))
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.lines("scanned"), "the first scan")
        (pid,) = scanners(daemon)
        os.kill(pid, signal.SIGKILL)
        until(lambda: daemon.lines("scanner-ended"), "its end is logged")
        commit = repository.commit("fs: change\n", {"f.c": changed()})
        until(lambda: commit_of_patch(stored) == commit, "the state of the patch")
        moved = repository.path.with_name("moved")
        repository.path.rename(moved)
        # The first scan that fails may have begun before the move, with another error of git.
        until(lambda: "not a git repository" in last_failure(daemon), "the error is logged")
        moved.rename(repository.path)
        (pid,) = scanners(daemon)
        assert daemon.stop() == 0
        assert not Path(f"/proc/{pid}").exists()


def test_a_request_by_the_driver_alone(stored: Engine, database_url: str, folder: Path) -> None:
    def requests() -> int:
        with stored.connect() as connection:
            return read_requests(connection)

    # The first one of a store is left to SQLAlchemy, and so is what cannot work.
    assert not request_scan_quickly(database_url)
    with write_transaction(stored) as connection:
        request_scan(connection)
    assert request_scan_quickly(database_url)
    assert requests() == 2
    for url in (f"sqlite:///{folder}/none.db", "sqlite:///", "nonsense", "mysql://x/y"):
        assert not request_scan_quickly(url)
    assert not (folder / "none.db").exists()
    (folder / "empty.db").touch()
    assert not request_scan_quickly(f"sqlite:///{folder}/empty.db")
    said = ingest_ok("--database", database_url, "scan-commits", "--notify", cwd=folder)
    assert said == ""
    assert requests() == 3


def last_failure(daemon: DaemonProcess) -> str:
    lines = daemon.lines("scan-failed")
    return str(lines[-1]["reason"]) if lines else ""


def scanners(daemon: DaemonProcess) -> list[int]:
    """Return the processes of the daemon that scan."""
    found = []
    for pid in daemon.workers():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"ingest.daemon.scans.main" in words:
            found.append(pid)
    return found


def test_the_command_scans_and_reports_what_it_found(
    stored: Engine, database_url: str, repository: LandingRepository, folder: Path
) -> None:
    config = folder / "c.toml"
    config.write_text("\n".join(lists(repository)))
    words = ("--database", database_url, "--config", str(config), "scan-commits")
    commit = repository.commit("fs: change\n", {"f.c": changed()})
    said = ingest_ok(*words, "--list", "dev", cwd=folder)
    assert said == f"{repository.path}: 2 new commits, 0 commits gone\n"
    assert commit_of_patch(stored) == commit
    assert json.loads(ingest_ok(*words, "--json", cwd=folder)) == [
        {"path": str(repository.path), "new": 0, "gone": 0, "error": None}
    ]
