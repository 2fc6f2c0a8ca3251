"""Store how far each source has been replayed."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, select

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.sql.insertion import dialect_insert

_source, _position = schema.checkpoint.c.source, schema.checkpoint.c.position
_NO_SOURCE = ""  # no source has this key


def read_position(connection: Connection, source: str) -> str | None:
    """Return the position of the last item of a source that is stored, or None."""
    query = select(_position).where(_source == source)
    return connection.execute(query).scalar()


def save_position(connection: Connection, source: str, position: str) -> None:
    """Set the position of a source, in the transaction that stores the items up to it."""
    connection.execute(
        dialect_insert(connection, schema.checkpoint)
        .values(source=source, position=position)
        .on_conflict_do_update(index_elements=["source"], set_={"position": position})
    )


def delete_position(connection: Connection, source: str) -> None:
    """Make the next replay of a source start from its beginning."""
    connection.execute(delete(schema.checkpoint).where(_source == source))


def flush_to_disk(engine: Engine) -> None:
    """Wait until everything that was committed before, by any process, is on the disk.

    Neither database flushes for a transaction that has written nothing, so this one writes.
    """
    with write_transaction(engine) as connection:
        save_position(connection, _NO_SOURCE, "")
        delete_position(connection, _NO_SOURCE)
