"""Limit how long a statement of the API may take when it writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event


def limit_statements(engine: Engine, *, seconds: float) -> None:
    """Limit each statement of the engine's new connections to that time, in PostgreSQL.

    SQLite needs no limit: its writes are short, and wait for one another by its busy timeout.
    """
    if engine.dialect.name != "postgresql":
        return

    def set_timeout(connection: Any, _record: object) -> None:
        connection.cursor().execute(f"SET statement_timeout = {int(seconds * 1000)}").close()
        connection.commit()

    event.listen(engine, "connect", set_timeout)
