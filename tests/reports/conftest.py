"""Define fixtures for the tests of reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.store.database.engine import open_store
from tests.support import sharing, small_archive


@pytest.fixture(scope="session")
def pristine(shared: Path) -> Path:
    """Return an SQLite store of the small archive, to be copied."""

    def build(path: Path) -> None:
        url = f"sqlite:///{path}"
        small_archive.store_of(url, small_archive.mails(), small_archive.CONFIG).dispose()

    return sharing.build_once(shared, "small-archive.db", build)


@pytest.fixture
def small_store(pristine: Path, tmp_path: Path) -> Iterator[Engine]:
    """Return a store of the small archive that a test may damage."""
    shutil.copy(pristine, tmp_path / "copy.db")
    engine = open_store(f"sqlite:///{tmp_path / 'copy.db'}")
    yield engine
    engine.dispose()
