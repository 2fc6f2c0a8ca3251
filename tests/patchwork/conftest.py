"""A small Patchwork site, and imports of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.patchwork.run import ImportSummary, run_import
from ingest.sources.source import Source
from ingest.store.patchwork.database import open_patchwork
from tests.support import mails
from tests.support.patchwork_site import Site, fill


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site of Patchwork 3.3 with a series on two lists, a lone patch and replies."""
    site = Site.create(f"sqlite:///{tmp_path / 'patchwork.db'}")
    fill(site)
    return site


@pytest.fixture
def old_site(tmp_path: Path) -> Site:
    """Return the same site as Patchwork 2.2 has it."""
    site = Site.create(f"sqlite:///{tmp_path / 'old.db'}", old=True)
    fill(site)
    return site


@contextmanager
def show_nothing(_name: str, _total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def import_site(
    engine: Engine, site: Site, *sources: Source, config: Config | None = None
) -> ImportSummary:
    """Import a site as the command does."""
    with open_patchwork(site.url) as database:
        return run_import(
            engine, config or Config(), database,
            sources=sources, parsers=1, now=mails.NOW, progress=show_nothing,
        )  # fmt: skip
