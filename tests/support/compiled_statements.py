"""Compile each statement once for each process of the tests, not once for each store.

SQLAlchemy keeps compiled statements by engine and dialect. The suite opens thousands of stores, and
each would compile about two hundred statements again, a third of the time of a usual test. All
databases of one kind are alike here, so their engines may share one dialect.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

_STATEMENTS = 3_000  # of all stores of this process; an engine by itself keeps 500

_dialects: dict[tuple[Any, ...], Dialect] = {}
_compiled: LRUCache[Any, Any] = LRUCache(_STATEMENTS)


def share() -> None:
    """Let all engines that this process creates share their compiled statements."""
    if not event.contains(Engine, "engine_connect", _share):
        event.listen(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    engine, dialect = connection.engine, connection.dialect
    if dialect.name not in ("sqlite", "postgresql"):
        return  # the names of tables of a Patchwork site's database include its own
    # Whatever a dialect knows beyond its class: an engine that commits by itself has another one.
    key = (type(dialect), dialect.server_version_info, dialect._on_connect_isolation_level)
    shared = _dialects.setdefault(key, dialect)
    if engine.get_execution_options().get("compiled_cache") is _compiled:
        return
    engine.dialect = connection.dialect = shared
    engine.update_execution_options(compiled_cache=_compiled)
    connection.execution_options(compiled_cache=_compiled)
