"""Test how databases are created and opened, and which settings their connections have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from tests.support import mails
from tests.support.command import ingest_ok


def test_opening_again_finds_what_was_stored(database_url: str) -> None:
    first = open_store(database_url, create=True)
    mails.store(first, [mails.patch()])
    wanted = mails.exported(first)
    first.dispose()
    for more in ({}, {"create": True}, {"migrate": True}):
        again = open_store(database_url, **more)
        assert mails.exported(again) == wanted
        again.dispose()


def test_reading_neither_creates_nor_migrates(database_url: str) -> None:
    with pytest.raises(StoreError, match=r"ingest replay SOURCE"):
        open_store(database_url)
    with pytest.raises(StoreError):
        open_store(database_url, migrate=True)
    open_store(database_url, create=True).dispose()


def test_several_processes_may_make_the_store_at_once(database_url: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mbox").write_bytes(
            mails.mbox(mails.series(f"s{number}", 3) + mails.series("same", 2))
        )

    def replay(number: int) -> str:
        return ingest_ok("--database", database_url, "replay", "-q", f"{number}.mbox", cwd=tmp_path)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(replay, range(3))) == ["", "", ""]
    engine = open_store(database_url)
    counts = mails.row_counts(engine)
    assert (counts["mail"], counts["message"], counts["series"]) == (15, 15, 4)
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    mails.store(alone, [raw for number in range(3) for raw in mails.series(f"s{number}", 3)])
    mails.store(alone, mails.series("same", 2))
    assert mails.exported(engine) == mails.exported(alone)
    alone.dispose()
    engine.dispose()


def test_sqlite_keeps_what_was_committed(tmp_path: Path) -> None:
    """The write-ahead log is flushed at each commit, as the 250 promises; foreign keys are
    enforced."""
    engine = open_store(f"sqlite:///{tmp_path / 's.db'}", create=True)
    with engine.connect() as connection:
        given = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert given == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def _parameters(url: str) -> dict[str, str]:
    """Return the parameters that libpq gets for a connection."""
    engine = open_store(url, create=True)
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        found: dict[str, str] = driver.info.get_parameters()
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"
    engine.dispose()
    return found


def test_the_encoding_of_the_environment_does_not_count(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    engine = open_store(postgres_url, create=True)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW client_encoding")).scalar() == "UTF8"
        assert connection.execute(text("SELECT CAST(:it AS text)"), {"it": "中"}).scalar() == "中"
    engine.dispose()


def test_postgresql_does_not_compile_its_short_statements(postgres_url: str) -> None:
    for url, setting in ((postgres_url, "off"), (f"{postgres_url}&options=-c%20jit%3Don", "on")):
        engine = open_store(url, create=True)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW jit")).scalar() == setting
        engine.dispose()


def test_an_unreachable_server_is_not_waited_for_long(postgres_url: str) -> None:
    found = _parameters(postgres_url)
    assert found["connect_timeout"] == "10"
    assert found["tcp_user_timeout"] == "60000"
    assert "keepalives" not in found  # libpq's default is that they are on
    idle, interval, count = (
        int(found[f"keepalives_{setting}"]) for setting in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 60


def test_connection_parameters_of_the_url_are_used(postgres_url: str) -> None:
    """The time zone has POSIX syntax: Debian 13 has `EST` in tzdata-legacy only, and PostgreSQL
    refuses the connection without it."""
    own = {
        "connect_timeout": "3",
        "tcp_user_timeout": "0",
        "keepalives": "0",
        "keepalives_idle": "7",
        "options": "-c lock_timeout=5s -c timezone=EST5",
    }
    url = make_url(postgres_url).update_query_dict(own).render_as_string(hide_password=False)
    found = _parameters(url)
    assert {key: found[key] for key in own} == own | {
        # Times are UTC, whatever the URL says.
        "options": f"-c jit=off {own['options']} -c timezone=UTC"
    }
    assert found["keepalives_interval"] == "10"
