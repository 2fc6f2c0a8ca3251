"""Store what clients keep with a series: texts by key.

The number of a series may pass to another row (`store.write.redirects`); its metadata follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, select, update

from ingest.store import schema
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any


def set_metadata(connection: Connection, series_id: int, values: Mapping[str, str | None]) -> None:
    """Set these texts of a series, by key; None deletes one. Others do not change."""
    table = schema.series_metadata
    is_own = table.c.series_id == series_id
    for chunk in chunks(values):
        connection.execute(delete(table).where(is_own, is_any(table.c.key, chunk)))
    insert_rows(
        connection,
        table,
        [
            {"series_id": series_id, "key": key, "value": value}
            for key, value in sorted(values.items())
            if value is not None
        ],
    )


def read_metadata(connection: Connection, series_ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return the metadata of these series, each sorted by key. Series without any are missing."""
    table = schema.series_metadata.c
    metadata: dict[int, dict[str, str]] = {}
    for chunk in chunks(series_ids):
        query = select(schema.series_metadata).where(is_any(table.series_id, chunk))
        for row in sorted(connection.execute(query), key=lambda row: (row.series_id, row.key)):
            metadata.setdefault(row.series_id, {})[row.key] = row.value
    return metadata


def transfer_metadata(connection: Connection, series_id: int, to: int | None) -> None:
    """Move the metadata of a series that is deleted to `to`, which keeps what it has itself."""
    table = schema.series_metadata
    own = read_metadata(connection, [series_id]).get(series_id)
    if not own:
        return
    known = read_metadata(connection, [to]).get(to, {}) if to is not None else {}
    moved = [key for key in own if to is not None and key not in known]
    is_own = table.c.series_id == series_id
    for chunk in chunks(moved):
        connection.execute(
            update(table).where(is_own, is_any(table.c.key, chunk)).values(series_id=to)
        )
    connection.execute(delete(table).where(is_own))
