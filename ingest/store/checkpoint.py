"""How far the replay of a source has come."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from ingest.store import schema

_source, _position = schema.checkpoint.c.source, schema.checkpoint.c.position


def position(connection: Connection, source: str) -> str | None:
    """The position of the last item that is stored, or None."""
    query = select(_position).where(_source == source)
    return connection.execute(query).scalar()


def remember(connection: Connection, source: str, reached: str) -> None:
    """Set the position, in the transaction that stores what leads up to it."""
    forget_position(connection, source)
    connection.execute(insert(schema.checkpoint).values(source=source, position=reached))


def forget_position(connection: Connection, source: str) -> None:
    """Begin anew the next time."""
    connection.execute(delete(schema.checkpoint).where(_source == source))
