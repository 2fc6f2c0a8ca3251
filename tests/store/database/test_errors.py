"""Test how errors of databases are shown."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import OperationalError

from ingest.store.database.errors import error_line


def test_an_error_of_a_driver_is_one_line() -> None:
    error = OperationalError("SELECT 1", {}, sqlite3.OperationalError("no\n  such\ttable"))
    assert error_line(error) == "no such table"
    assert error_line(ValueError()) == "ValueError"
