"""Test that one daemon owns an SQLite store, by whatever name it is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingest.daemon.lock_file import lock_store
from ingest.store.database.errors import StoreError


def test_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
    held = lock_store(f"sqlite:///{tmp_path}/s.db")
    assert held is not None
    assert not os.get_inheritable(held)  # a worker that outlives the daemon has no lock
    for name in ("s.db", "link.db", "../" + tmp_path.name + "/s.db"):
        with pytest.raises(StoreError, match="another daemon serves"):
            lock_store(f"sqlite:///{tmp_path}/{name}")
    other = lock_store(f"sqlite:///{tmp_path}/other.db")
    assert other is not None
    os.close(held)
    again = lock_store(f"sqlite+pysqlite:///{tmp_path}/link.db")
    assert again is not None
    os.close(again)
    os.close(other)


def test_a_store_that_daemons_share() -> None:
    assert lock_store("postgresql://t@/x?host=/no/where") is None


@pytest.mark.parametrize(
    ("url", "said"), [("mysql://x/y", "no support"), ("nonsense", "not a database URL")]
)
def test_urls_without_a_lock_file(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        lock_store(url)


def test_errors_that_opening_the_store_reports() -> None:
    assert lock_store("sqlite:////no/where/s.db") is None
    assert lock_store("sqlite://") is None
