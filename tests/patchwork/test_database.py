"""Test that a Patchwork database is read in one snapshot, and that other databases are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from ingest.store.patchwork.database import PatchworkError, open_patchwork
from ingest.store.patchwork.message_rows import fetch_patches
from tests.support.patchwork_site import DEV, Site, fill


def refusal(url: str, **more: str) -> str:
    with pytest.raises(PatchworkError) as error, open_patchwork(url, **more):
        pass
    return str(error.value)


def test_it_is_read_in_one_snapshot(site: Site) -> None:
    with site.engine.begin() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
    with open_patchwork(site.url) as database:
        assert len(list(fetch_patches(database))) == 4
        site.add_patch(9, next(iter(site.raw.values())), DEV)
        assert len(list(fetch_patches(database))) == 4


def test_it_cannot_be_written(site: Site) -> None:
    with open_patchwork(site.url) as database, pytest.raises(DBAPIError, match="readonly"):
        database.connection.execute(text("DELETE FROM patchwork_tag"))


def test_on_postgresql_it_is_read_in_one_snapshot_and_cannot_be_written(postgres_url: str) -> None:
    site = Site.create(postgres_url)
    fill(site)
    with open_patchwork(postgres_url.replace("+psycopg", "")) as database:
        assert len(list(fetch_patches(database))) == 4
        site.add_patch(9, next(iter(site.raw.values())), DEV)
        assert len(list(fetch_patches(database))) == 4
        with pytest.raises(DBAPIError, match="read-only"):
            database.connection.execute(text("DELETE FROM patchwork_tag"))


@pytest.mark.parametrize("zone", ["Australia/Canberra", "Europe/Berlin", "UTC"])
def test_times_are_shown_in_the_zone_of_the_site(postgres_url: str, zone: str) -> None:
    """Django has told PostgreSQL the zone, and passed it dates of mail, which are in UTC."""
    site = Site.create(postgres_url)
    with site.engine.begin() as connection:
        for table, column in (("patchwork_patch", "date"), ("patchwork_event", "date")):
            connection.execute(
                text(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE timestamp with time zone")
            )
        name = site.engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET timezone TO '{zone}'"))
    site.engine.dispose()
    fill(site)
    with open_patchwork(postgres_url) as database:
        first = next(fetch_patches(database))
        assert first.date == datetime(2026, 3, 2, 10, 15, 1)
    with open_patchwork(postgres_url, zone="Asia/Tokyo") as database:
        noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        assert database.shown_time(noon) == datetime(2026, 3, 2, 21)
        assert database.utc_time(noon) == datetime(2026, 3, 2, 12)


def test_what_is_no_patchwork_is_refused_in_one_line(tmp_path: Path, site: Site) -> None:
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    with create_engine(empty).begin() as connection:
        connection.execute(text("CREATE TABLE other (id INTEGER)"))
    assert "is no Patchwork database: it has no table patchwork_project" in refusal(empty)
    assert "there is no file" in refusal(f"sqlite:///{tmp_path / 'none.db'}")
    assert "must be like postgresql://" in refusal("patchwork")
    assert "oracle is no database that Patchwork runs on" in refusal("oracle://x@y/z")
    with site.engine.begin() as connection:
        connection.execute(text("DROP TABLE patchwork_series"))
    assert "before 2.2" in refusal(site.url)


def test_a_password_is_not_shown() -> None:
    refused = refusal("postgresql://user:secret@127.0.0.1:9/patchwork?password=hidden")
    assert "127.0.0.1" in refused
    assert "secret" not in refused
    assert "hidden" not in refused


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    assert "pip install pymysql, or 'WHEEL[mysql]'" in refusal("mysql://user@host/patchwork")


def test_an_unknown_time_zone_is_refused(postgres_url: str) -> None:
    Site.create(postgres_url)
    assert "there is no time zone Nowhere" in refusal(postgres_url, zone="Nowhere")
