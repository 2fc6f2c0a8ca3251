"""Test the import of a real Patchwork of two projects, where its record is here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from ingest.config.settings import Config
from ingest.patchwork.run import ImportSummary, read_patchwork_site, run_import
from ingest.patchwork.verify.compare import compare_stores
from ingest.reports.check import check_store
from ingest.store.patchwork.database import open_patchwork
from tests.patchwork.conftest import show_nothing
from tests.support import mails, postgres, skips
from tests.support.paths import SHARED

DUMP = SHARED / "patchwork-live" / "database.sql.zst"

# What is another way here than in Patchwork, and why that is better.
EXPECTED = {
    # A patch whose subject has a total that the rest of the posting does not bear out.
    "series.total": 1,
    # A diff within a reply, of which Patchwork has lost some lines.
    "cover-comment.content": 2,
    "patch-comment.content": 1,
}


@pytest.fixture(scope="module")
def patchwork_url(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of the real database, loaded into a database of its own."""
    if not DUMP.exists():
        pytest.skip(skips.NO_SHARED)
    with postgres.fresh(postgres_server) as url:
        _load(url, tmp_path_factory.mktemp("dump"))
        yield url


def _load(url: str, folder: Path) -> None:
    import zstandard

    path = folder / "dump.sql"
    with DUMP.open("rb") as packed, path.open("wb") as plain:
        zstandard.ZstdDecompressor().copy_stream(packed, plain)
    parsed = make_url(url)
    words = ["psql", "-q", "-h", str(parsed.query["host"]), "-U", str(parsed.username)]
    try:
        subprocess.run([*words, "-f", str(path), str(parsed.database)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    except FileNotFoundError:
        pytest.skip(skips.NO_POSTGRESQL)


def test_a_real_site_is_imported_and_nothing_else_differs(
    engine: Engine, patchwork_url: str
) -> None:
    for is_first in (True, False):
        with open_patchwork(patchwork_url) as database:
            summary = run_import(
                engine, Config(), database,
                sources=(), parsers=1, now=mails.NOW, progress=show_nothing,
            )  # fmt: skip
        assert (summary == ImportSummary()) is not is_first
    assert check_store(engine, Config()).faults == ()
    with engine.connect() as connection, open_patchwork(patchwork_url) as database:
        result = compare_stores(connection, database, read_patchwork_site(database))
    assert result.counts["patch"] == 1204
    assert result.counts["event"] == 6530
    assert {name: len(found) for name, found in result.by_class().items()} == EXPECTED
