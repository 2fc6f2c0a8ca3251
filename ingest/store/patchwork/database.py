"""Open the database of a Patchwork site, read-only and in one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from ingest.store.database.errors import error_line

# Patchwork's default TIME_ZONE is the first. PostgreSQL has times in UTC; Patchwork shows them in
# the zone of the site, and takes the dates of mail, which are in UTC, for times of that zone.
_ZONES = ("Australia/Canberra", "UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles")
_SAMPLE = 200  # mails by whose Date the zone is found

_DRIVERS = {
    "postgresql": ("psycopg", None),
    "mysql": ("pymysql", "mysql"),
    "mariadb": ("pymysql", "mysql"),
    "sqlite": (None, None),
}


class PatchworkError(Exception):
    """The database cannot be imported. The text is one line: the cause, then what to do."""


class PatchworkDatabase:
    """A connection to a Patchwork database, with the tables that it has.

    `zone` is the time zone of the site, None where the database has naive times.
    """

    def __init__(self, connection: Connection, tables: MetaData, zone: ZoneInfo | None) -> None:
        self.connection = connection
        self._tables = tables
        self._zone = zone

    def has(self, name: str, column: str | None = None) -> bool:
        """Tell whether there is such a table, and such a column in it."""
        table = self._tables.tables.get(f"patchwork_{name}")
        return table is not None and (column is None or column in table.c)

    def table(self, name: str) -> Table:
        """Return a table: `patch` is `patchwork_patch`; those of Django have their whole names."""
        tables = self._tables.tables
        return tables[name] if name in tables else tables[f"patchwork_{name}"]

    def rows(self, query: Any) -> Iterator[Any]:
        """Yield the rows of a query as they arrive, so that they need not fit into memory."""
        options = {"yield_per": 500, "stream_results": True}
        yield from self.connection.execute(query, execution_options=options)

    def shown_time(self, time: datetime) -> datetime:
        """Return a time of a column as Patchwork shows it."""
        if time.tzinfo is None or self._zone is None:
            return time.replace(tzinfo=None)
        return time.astimezone(self._zone).replace(tzinfo=None)

    def utc_time(self, time: datetime) -> datetime:
        """Return when it was, naive and in UTC, as far as the database tells."""
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo is not None else time


@contextmanager
def open_patchwork(address: str, *, zone: str | None = None) -> Iterator[PatchworkDatabase]:
    """Open the database at a URL, and read it as it is at this moment.

    `zone`: the site's TIME_ZONE, None to find it. Raises `PatchworkError`.
    """
    url = _parse_url(address)
    shown = _show(address)
    try:
        engine = _create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise PatchworkError(f"{shown}: {error}") from None
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        try:
            connection = stack.enter_context(engine.connect())
            stack.enter_context(connection.begin())
            database = _inspect(connection, shown, zone)
        except DBAPIError as error:
            raise PatchworkError(f"{shown}: {error_line(error)}") from None
        yield database


def _inspect(connection: Connection, shown: str, zone: str | None) -> PatchworkDatabase:
    """Read which tables there are, and in which time zone the site is."""
    _check_tables(connection, shown)
    tables = MetaData()
    tables.reflect(connection, only=_is_wanted, resolve_fks=False)
    database = PatchworkDatabase(connection, tables, None)
    if connection.dialect.name != "postgresql":
        return database
    found = _parse_zone(zone) if zone is not None else _find_zone(database)
    return PatchworkDatabase(connection, tables, found)


def _show(address: str) -> str:
    """Return a URL for messages: without what may be a password."""
    return make_url(address).set(query={}).render_as_string(hide_password=True)


def _parse_url(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError:
        raise PatchworkError(
            "the URL of the Patchwork database must be like"
            " postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME or sqlite:///PATH"
        ) from None
    backend = url.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
        url = url.set(drivername="postgresql")
    if backend not in _DRIVERS:
        raise PatchworkError(
            f"{backend} is no database that Patchwork runs on: give a URL of postgresql,"
            " mysql, mariadb or sqlite"
        )
    driver, extra = _DRIVERS[backend]
    if driver is not None:
        url = url.set(drivername=f"{backend}+{driver}")
        try:
            __import__(driver)
        except ImportError:
            advice = f"pip install {driver}" + (f", or 'WHEEL[{extra}]'" if extra else "")
            raise PatchworkError(
                f"{backend} needs the driver {driver}, which is not installed: {advice}"
            ) from None
    return url


# What begins a transaction that reads one snapshot and cannot write, by backend. A file of SQLite
# is opened read-only.
_BEGIN = {
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    "mariadb": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    "sqlite": "BEGIN",
}


def _create_engine(url: URL) -> Engine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        engine = _create_sqlite_engine(url)
    elif backend == "postgresql":
        engine = create_engine(url)
    else:
        query = {"charset": "utf8mb4", **url.query}
        engine = create_engine(url.set(query=query))

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(_BEGIN[backend])

    return engine


def _create_sqlite_engine(url: URL) -> Engine:
    """Open a file read-only. SQLite would create one that does not exist."""
    path = url.database or ""
    if not Path(path).is_file():
        raise PatchworkError(f"there is no file {path}: sqlite:///PATH names the database")

    def connect() -> sqlite3.Connection:
        # Without isolation_level=None, sqlite3 begins no transaction for what reads.
        return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)

    return create_engine("sqlite://", creator=connect)


_NEEDED = ("patchwork_project", "patchwork_patch", "patchwork_state", "patchwork_person")


def _check_tables(connection: Connection, shown: str) -> None:
    names = set(inspect(connection).get_table_names())
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise PatchworkError(
            f"{shown} is no Patchwork database: it has no table {missing[0]}; check the name"
        )
    if "patchwork_series" not in names or not (
        {"patchwork_cover", "patchwork_coverletter"} & names
    ):
        raise PatchworkError(
            f"{shown} is of a Patchwork before 2.2: update Patchwork first (manage.py migrate)"
        )


def _is_wanted(name: str, _metadata: MetaData) -> bool:
    return name.startswith("patchwork_") or name in ("auth_user", "authtoken_token")


def _parse_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise PatchworkError(f"there is no time zone {name}: give Patchwork's TIME_ZONE") from None


def _find_zone(database: PatchworkDatabase) -> ZoneInfo:
    """Find the zone of the site: in it, the dates of mail are those of their Date fields, in UTC.

    With no mail, or none of the usual zones, it is UTC.
    """
    name = "patch" if database.has("patch", "headers") else "submission"
    table = database.table(name)
    query = select(table.c.date, table.c.headers).order_by(table.c.id.desc()).limit(_SAMPLE)
    votes = dict.fromkeys(_ZONES, 0)
    for row in database.connection.execute(query):
        sent = _parse_date(row.headers)
        if sent is None or row.date.tzinfo is None:
            continue
        for zone in votes:
            shown = row.date.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            votes[zone] += shown == sent
    best = max(votes, key=lambda zone: votes[zone])
    return ZoneInfo(best if votes[best] else "UTC")


def _parse_date(headers: str) -> datetime | None:
    lines = [line for line in headers.split("\n") if line.lower().startswith("date:")]
    if len(lines) != 1:
        return None
    try:
        sent = parsedate_to_datetime(lines[0][5:].strip())
    except (ValueError, TypeError):
        return None
    return sent.astimezone(UTC).replace(tzinfo=None) if sent.tzinfo is not None else sent
