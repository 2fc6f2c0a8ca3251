"""Define shared fixtures: stores in both databases, a PostgreSQL for the session, the real
archive."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from ingest.config.settings import Config
from ingest.store.database.engine import open_store
from tests.support import compiled_statements, mails, postgres, sharing, skips
from tests.support.paths import ARCHIVE, SEED
from tests.support.places import scratch, short_folder

# The folder of `tmp_path`; see pytest's documentation of this variable.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(scratch()))

compiled_statements.share()

REAL = 1_800  # mails of the real archive with which the API is tested


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected records in fixtures/ for review as a diff",
    )


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for what is built once for all workers (`sharing.build_once`)."""
    return sharing.shared_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def postgres_server(shared: Path) -> Iterator[str]:
    """Return the URL of a PostgreSQL: $TEST_DATABASE, else system binaries, else the wheel's."""
    if url := os.environ.get("TEST_DATABASE"):
        yield url
        return
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip(skips.NO_POSTGRESQL)
    with sharing.shared_server(
        shared,
        lambda: postgres.create(binaries, "-c max_connections=300", parent=scratch()),
        lambda url: postgres.remove(binaries, url),
    ) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Return a fresh, empty database on that server, and drop it afterwards."""
    with postgres.fresh(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a fresh, empty database of each kind, for tests of creating a store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_template(shared: Path) -> Path:
    """Return an SQLite store without mail, to be copied: the schema is created once, not by each
    test."""
    return sharing.build_once(shared, "template.db", _make_store)


def _make_store(path: Path) -> None:
    open_store(f"sqlite:///{path}", create=True).dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Return the name of a database with a store without mail."""
    with postgres.fresh(postgres_server) as url:
        open_store(url, create=True).dispose()
        yield str(make_url(url).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a store without mail of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    with postgres.copy_of(server, request.getfixturevalue("postgres_template")) as url:
        yield url


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """Return a store without mail of each kind. A module that needs mail in it extends this."""
    opened = open_store(store_url)
    yield opened
    opened.dispose()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short path, for Unix sockets."""
    with short_folder() as path:
        yield path


@pytest.fixture(scope="session")
def git_program() -> None:
    """Skip where git is not installed."""
    if shutil.which("git") is None:
        pytest.skip(skips.NO_GIT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report all tests that are skipped for one missing thing in one line of the summary."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if any(known in reason for known in skips.REASONS):
            report.longrepr = ("tests", None, reason)
    return report


@pytest.fixture(scope="session")
def archive(shared: Path, git_program: None) -> Path:
    """Return the real archive as a public-inbox v2 repository, which no test may change."""
    if not ARCHIVE.exists():
        pytest.skip(skips.NO_SHARED)
    return sharing.build_once(shared, "archive.git", _clone)


def _clone(target: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(ARCHIVE), str(target)], check=True)


@pytest.fixture(scope="session")
def corpus(archive: Path) -> list[tuple[str, bytes]]:
    """Return every message of the real archive: (commit, raw bytes), oldest first."""
    commits = subprocess.run(
        ["git", "rev-list", "--reverse", "HEAD"], cwd=archive, check=True, capture_output=True
    ).stdout.split()
    raws = _read_blobs(archive, [f"{commit.decode()}:m" for commit in commits])
    return [(commit.decode(), raw) for commit, raw in zip(commits, raws, strict=True)]


def _read_blobs(repository: Path, names: Sequence[str]) -> Iterator[bytes]:
    """Yield the blobs with these names, read by one process of git."""
    stream = subprocess.run(
        ["git", "cat-file", "--batch", "--buffer"],
        cwd=repository,
        check=True,
        capture_output=True,
        input="".join(f"{name}\n" for name in names).encode(),
    ).stdout
    at = 0
    while at < len(stream):
        end = stream.index(b"\n", at)
        size = int(stream[at:end].rsplit(b" ", 1)[1])
        yield stream[end + 1 : end + 1 + size]
        at = end + size + 2


@pytest.fixture(scope="session")
def real_store(archive: Path, shared: Path) -> str:
    """Return the URL of an SQLite store of the real archive's last mails; copy it before a
    change."""

    def build(path: Path) -> None:
        raws = list(_read_blobs(archive, [f"HEAD~{back}:m" for back in reversed(range(REAL))]))
        engine = open_store(f"sqlite:///{path}", create=True)
        for start in range(0, len(raws), 500):
            mails.store(engine, raws[start : start + 500], Config())
        engine.dispose()

    return f"sqlite:///{sharing.build_once(shared, 'real.db', build)}"


@pytest.fixture(scope="session")
def seed() -> Path:
    """Return the folder of the real record and its mail; skip where it is missing."""
    if not SEED.exists():
        pytest.skip(skips.NO_SHARED)
    return SEED


@pytest.fixture(scope="session")
def strace() -> None:
    """Skip where calls cannot be traced."""
    if (
        shutil.which("strace") is None
        or subprocess.run(
            ["strace", "-o", "/dev/null", "true"], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("there is no strace, or it may not trace")
