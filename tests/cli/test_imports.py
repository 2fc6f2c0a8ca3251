"""Test which modules commands do without: importing takes most of the time of a short command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingest.store.database.engine import open_store
from tests.support import mails
from tests.support.command import arguments, environment

# Of a package, all modules.
LIBRARIES = (
    "alembic", "dkim", "nacl", "psycopg", "rich", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm", "starlette", "tomllib", "uvicorn",
)  # fmt: skip
WRITING = (
    "ingest.config.file", "ingest.pipeline", "ingest.reports.export", "ingest.series.arrange",
    "ingest.store.activity.states", "ingest.store.listing", "ingest.store.locks",
    "ingest.store.migrations", "ingest.store.write",
)  # fmt: skip
API = ("ingest.api.records", "ingest.store.read.directory", "ingest.store.read.pages.page_queries")
VERIFYING = ("ingest.mail.parse", "ingest.trust.signatures.verify")
COMPARING = ("ingest.lifecycle.revisions", "ingest.series.links", "ingest.store.read.revisions")
PAGES = ("ingest.store.read.pages",)

CODE = """
import sys
from ingest.__main__ import main
try:
    main()
except SystemExit:
    pass
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store."""
    folder = tmp_path_factory.mktemp("filled")
    engine = open_store(f"sqlite:///{folder / 'ingest.db'}", create=True)
    mails.store(engine, mails.little_archive(4))
    engine.dispose()
    return folder


@pytest.mark.parametrize(
    ("words", "printed", "without"),
    [
        (("--help",), "replay", ("sqlalchemy", "zstandard", "asyncio", *LIBRARIES)),
        (("series",), "s0: improve all", (*LIBRARIES, *WRITING, *API, *VERIFYING, *COMPARING)),
        (
            ("series", "s1-1@example.org"),
            "s1: step 1",
            (*LIBRARIES, *WRITING, *API, *VERIFYING, *PAGES),
        ),
        (("show", "s1-1@example.org"), "s1: step 1", (*LIBRARIES, *WRITING, *API, *PAGES)),
    ],
)
def test_a_command_imports_only_what_it_needs(
    filled: Path, words: tuple[str, ...], printed: str, without: tuple[str, ...]
) -> None:
    done = subprocess.run(
        arguments(*words, code=CODE),
        cwd=filled, env=environment(), capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert printed in done.stdout
    loaded = done.stderr.split()
    assert "ingest.cli" in loaded
    unwanted = [
        module
        for module in loaded
        if any(module == name or module.startswith(f"{name}.") for name in without)
    ]
    assert unwanted == []
