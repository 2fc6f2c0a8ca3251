"""Test what the processes of the daemon do without: each imports what it runs, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import environment

CODE = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("app", ("aiosmtpd", "alembic", "dns", "httpx", "psycopg", "starlette", "ingest.patch")),
        ("jobs.accept", ("alembic", "dns", "httpx", "psycopg", "starlette", "ingest.mail.parse")),
        (
            "jobs.derive",
            ("aiosmtpd", "alembic", "httpx", "psycopg", "starlette", "ingest.pipeline.derive",
             "ingest.scan"),
        ),
        ("jobs.api", ("aiosmtpd", "alembic", "dns", "httpx", "psycopg", "rich", "ingest.pipeline")),
    ],
)  # fmt: skip
def test_a_process_imports_only_what_it_runs(module: str, without: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"ingest.daemon.{module}"],
        env=environment(), capture_output=True, check=True, text=True,
    )  # fmt: skip
    loaded = done.stdout.split()
    unwanted = [
        name
        for name in loaded
        if any(name == package or name.startswith(f"{package}.") for package in without)
    ]
    assert unwanted == []
