"""Keep which rows of Patchwork were imported, what they said, and what they became.

An import that is run again compares the digest of each row with that of the last run, and writes
what differs. So it takes over what has changed in Patchwork, and leaves what was changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, delete, func, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any

# Of a row whose message is stored, and of which nothing else is.
NOT_APPLIED = bytes(16)


@frozen
class Entry:
    """A row of Patchwork that was imported: the row here, and the digest of what it said."""

    row_id: int | None
    digest: bytes


def digest_row(*values: object) -> bytes:
    """Return a digest of the values of a row."""
    return blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_entries(
    connection: Connection, kind: NumberKind, numbers: Iterable[int]
) -> dict[int, Entry]:
    """Return the entries of these rows of Patchwork, by number. Those that are new are missing."""
    table = schema.imported.c
    entries: dict[int, Entry] = {}
    for chunk in chunks(numbers):
        query = select(schema.imported).where(table.kind == kind, is_any(table.number, chunk))
        for row in connection.execute(query):
            entries[row.number] = Entry(row.row_id, bytes(row.digest))
    return entries


def write_entries(connection: Connection, kind: NumberKind, entries: Mapping[int, Entry]) -> None:
    """Write the entries of rows of Patchwork, in the place of those that they have."""
    table = schema.imported
    for chunk in chunks(entries):
        is_own = (table.c.kind == kind, is_any(table.c.number, chunk))
        connection.execute(delete(table).where(*is_own))
    rows: Sequence[dict[str, Any]] = [
        {"kind": str(kind), "number": number, "row_id": entry.row_id, "digest": entry.digest}
        for number, entry in sorted(entries.items())
    ]
    insert_rows(connection, table, rows)


def read_entry_numbers(connection: Connection, kind: NumberKind) -> dict[int, int | None]:
    """Return the row of each imported row of a kind, by its number in Patchwork."""
    table = schema.imported.c
    query = select(table.number, table.row_id).where(table.kind == kind)
    return {row.number: row.row_id for row in connection.execute(query)}


def has_imported(connection: Connection) -> bool:
    """Tell whether an import into this store has begun."""
    return connection.execute(select(schema.reserved_number.c.kind).limit(1)).first() is not None


def count_messages(connection: Connection) -> int:
    """Return how many messages the store has."""
    return connection.execute(select(func.count()).select_from(schema.message)).scalar_one()
