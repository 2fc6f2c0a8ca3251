"""Define what the tables share: metadata, the type of row numbers, partial indexes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    func,
    literal_column,
)
from sqlalchemy.dialects import sqlite

_CONDITION = "condition"  # what an index keeps it under


def partial_index(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]) -> None:
    """Add an index of only those rows for which `where` is true.

    SQLAlchemy learns the condition from `declare_conditions`, where it is needed.
    """
    Index(name, *columns, info={_CONDITION: where})


def declare_conditions() -> None:
    """Give SQLAlchemy the conditions of the partial indexes, for comparing or creating them.

    Only migrations do that. To take a condition, SQLAlchemy imports the dialect of PostgreSQL with
    all of its drivers, which is a tenth of the time of a command that shows one record.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if _CONDITION in index.info:
                for dialect in ("postgresql", "sqlite"):
                    index.dialect_options[dialect]["where"] = index.info[_CONDITION]


def name_order(name: ColumnElement[str]) -> ColumnElement[str]:
    """Return that by which names are ordered: their beginning, which fits into an index."""
    return func.substr(name, literal_column("1"), literal_column("100"))


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite assigns row numbers only in a column that is declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")


def format_sqlite_time(time: datetime | None) -> str | None:
    """Return a time as SQLite stores it: as sqlite3 writes one, without an empty fraction."""
    return None if time is None else time.isoformat(" ")


class _IsoDateTime(sqlite.DATETIME):
    """A time in SQLite, written as in bulk (`store.sql.insertion.insert_rows`).

    SQLAlchemy always writes a fraction, and would find no row that is equal.
    """

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy passes it
        """Return the function that formats a time."""
        return format_sqlite_time


# A time by which rows are found. Their text sorts as the times do.
SearchedTime = DateTime().with_variant(
    _IsoDateTime(),  # type: ignore[no-untyped-call]
    "sqlite",
)


def storable(text: str) -> str:
    """Return text in which NUL and lone surrogates are replaced, which databases do not store."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
