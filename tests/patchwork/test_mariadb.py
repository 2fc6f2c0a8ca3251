"""Test that a site on MariaDB is imported as the same site on SQLite is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ingest.patchwork.run import ImportSummary, read_patchwork_site
from ingest.patchwork.verify.compare import compare_stores
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.patchwork.database import open_patchwork
from ingest.store.patchwork.message_rows import fetch_patches
from tests.patchwork.conftest import import_site
from tests.support import mariadb, skips
from tests.support.patchwork_site import DEV, Site, fill


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    program = mariadb.find_server()
    if program is None:
        pytest.skip(skips.NO_MARIADB)
    with mariadb.throwaway(program) as url:
        yield url


@contextmanager
def site_on_mariadb(server: str, *, old: bool = False) -> Iterator[Site]:
    with mariadb.fresh(server) as url:
        site = Site.create(url, old=old)
        fill(site)
        yield site
        site.engine.dispose()


def rows(engine: Engine) -> dict[str, list[Any]]:
    """Return all that a store has, by table, but when and from where its mail came."""
    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            columns = [column for column in table.c if column.name not in ("accepted", "source")]
            found[table.name] = sorted(map(tuple, connection.execute(select(*columns))), key=repr)
    return found


@pytest.mark.parametrize("old", [False, True])
def test_a_site_on_mariadb_is_imported_as_one_on_sqlite(
    engine: Engine, server: str, sqlite_template: Path, tmp_path: Path, old: bool
) -> None:
    other = Site.create(f"sqlite:///{tmp_path / 'patchwork.db'}", old=old)
    fill(other)
    store = tmp_path / "other.db"
    store.write_bytes(sqlite_template.read_bytes())
    of_sqlite = open_store(f"sqlite:///{store}")
    import_site(of_sqlite, other)
    with site_on_mariadb(server, old=old) as site:
        assert import_site(engine, site) != ImportSummary()
        assert import_site(engine, site) == ImportSummary(), "nothing has changed"
        with engine.connect() as connection, open_patchwork(site.url) as database:
            result = compare_stores(connection, database, read_patchwork_site(database))
    assert result.differences == []
    assert rows(engine) == rows(of_sqlite)
    of_sqlite.dispose()


def test_on_mariadb_it_is_read_in_one_snapshot(server: str) -> None:
    with site_on_mariadb(server) as site, open_patchwork(site.url) as database:
        assert len(list(fetch_patches(database))) == 4
        site.add_patch(9, next(iter(site.raw.values())), DEV)
        assert len(list(fetch_patches(database))) == 4
