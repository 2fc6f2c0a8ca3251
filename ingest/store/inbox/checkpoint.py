"""How far the replay of a source has come."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from ingest.store import schema
from ingest.store.engine import write_transaction

_source, _position = schema.checkpoint.c.source, schema.checkpoint.c.position


def read_position(connection: Connection, source: str) -> str | None:
    """The position of the last item that is stored, or None."""
    query = select(_position).where(_source == source)
    return connection.execute(query).scalar()


def save_position(connection: Connection, source: str, reached: str) -> None:
    """Set the position, in the transaction that stores what leads up to it."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    connection.execute(
        insert(schema.checkpoint)
        .values(source=source, position=reached)
        .on_conflict_do_update(index_elements=["source"], set_={"position": reached})
    )


def forget_position(connection: Connection, source: str) -> None:
    """Begin anew the next time."""
    connection.execute(delete(schema.checkpoint).where(_source == source))


def flush_to_disk(engine: Engine) -> None:
    """Wait until what was committed before, by whatever process, is safe on the disk.

    Neither database waits for a transaction that has written nothing, so this one writes.
    """
    with write_transaction(engine) as connection:
        save_position(connection, _NOTHING, "")
        forget_position(connection, _NOTHING)


_NOTHING = ""  # the key of no source
