"""Share things between the processes of one test run: each is built once, and there is one
PostgreSQL.

pytest-xdist runs a session in each worker, so that a fixture of the session is built by each. The
workers' folders are in one folder; things there are built by the first that needs them, under a
lock, and used by all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the workers of this run have in common."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock that one process of this run can hold at a time."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_once(folder: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Return the path of this name, built by the first process that asks. `build`: makes it."""
    target = folder / name
    with locked(folder, name):
        if not target.exists():
            unfinished = folder / f"{name}.unfinished"
            build(unfinished)
            unfinished.rename(target)
    return target


@contextlib.contextmanager
def shared_server(
    folder: Path, start: Callable[[], str], stop: Callable[[str], None]
) -> Iterator[str]:
    """Give the URL of a server that the first process starts and the last one stops."""
    state = folder / "server"  # the URL, then the id of each process that uses it
    with locked(folder, "server"):
        lines = state.read_text().splitlines() if state.exists() else [start()]
        state.write_text("\n".join([*lines, str(os.getpid())]))
    try:
        yield lines[0]
    finally:
        with locked(folder, "server"):
            url, *users = state.read_text().splitlines()
            users.remove(str(os.getpid()))
            if users:
                state.write_text("\n".join([url, *users]))
            else:
                state.unlink()
                stop(url)
