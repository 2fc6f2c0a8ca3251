"""Request a scan with the database's own driver.

A git hook waits for this, and so does the person who pushes. Importing SQLAlchemy takes several
times as long as everything else. If anything is unusual, the caller uses
`store.commits.repositories.request_scan` instead, which also reports what is wrong.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ingest.store.libpq import POSTGRESQL_DEFAULTS

_REQUEST = "UPDATE scan_status SET requests = requests + 1 WHERE id = 1"
_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgres://", "postgresql://", "postgresql+psycopg://")


def request_scan_quickly(url: str) -> bool:
    """Request a scan, and tell whether that worked. Never fails and never makes a store."""
    if url.startswith(_SQLITE):
        return _request_sqlite(url.removeprefix(_SQLITE))
    if url.startswith(_POSTGRESQL):
        return _request_postgresql("postgresql://" + url.partition("://")[2])
    return False


def _request_sqlite(name: str) -> bool:
    path = Path(name)
    if "?" in name or "%" in name or not path.is_file():
        return False
    try:
        connection = sqlite3.connect(path)
    except sqlite3.Error:
        return False
    try:
        with connection:
            return connection.execute(_REQUEST).rowcount == 1
    except sqlite3.Error:
        return False
    finally:
        connection.close()


def _request_postgresql(url: str) -> bool:
    try:
        import psycopg
    except ImportError:
        return False
    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
        defaults = {key: value for key, value in POSTGRESQL_DEFAULTS.items() if key not in given}
        with psycopg.connect(psycopg.conninfo.make_conninfo(url, **defaults)) as connection:
            return connection.execute(_REQUEST).rowcount == 1
    except psycopg.Error:
        return False
