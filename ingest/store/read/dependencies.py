"""What messages build on, and what of it has come.

Edges are stored as the mail names them, and resolved when they are read: a target that comes
later needs nothing to be written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import key_of
from ingest.series.supersede import change_id_trace
from ingest.store import schema
from ingest.store.sql import chunks


@frozen
class DependencyEdge:
    """`found`: the message that it is, by key; for a change-id the series that has it, by the
    key of its latest revision. None where it has not come, and for commits and URLs.
    """

    kind: str
    target: str
    found: str | None


def read_dependencies(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, list[DependencyEdge]]:
    """The edges of these messages, in the order of the mail."""
    dependency = schema.dependency.c
    rows: list[tuple[int, int, str, str]] = []
    for some in chunks(message_ids):
        query = select(
            dependency.message_id, dependency.position, dependency.kind, dependency.target
        )
        rows += [
            (row.message_id, row.position, row.kind, row.target)
            for row in connection.execute(query.where(dependency.message_id.in_(some)))
        ]
    resolved = _messages(connection, {row[3] for row in rows if row[2] == "message"})
    resolved |= _patches(connection, {row[3] for row in rows if row[2] == "patch-id"})
    resolved |= _changes(connection, {row[3] for row in rows if row[2] == "change-id"})
    found: dict[int, list[DependencyEdge]] = defaultdict(list)
    for message_id, _, kind, target in sorted(rows):
        found[message_id].append(DependencyEdge(kind, target, resolved.get((kind, target))))
    return found


def _messages(connection: Connection, msgids: set[str]) -> dict[tuple[str, str], str]:
    message = schema.message.c
    found: dict[tuple[str, str], str] = {}
    for some in chunks(msgids):
        query = select(message.msgid).where(message.msgid.in_(some), message.variant == "")
        for msgid in connection.execute(query).scalars():
            found[("message", msgid)] = msgid
    return found


def _patches(connection: Connection, patch_ids: set[str]) -> dict[tuple[str, str], str]:
    """The latest patch with each patch-id; the key decides between equals."""
    message, patch = schema.message.c, schema.patch.c
    best: dict[tuple[str, str], tuple[str, str]] = {}
    for some in chunks(patch_ids):
        query = (
            select(patch.patch_id, message.msgid, message.variant, message.date)
            .join(schema.message, message.id == patch.message_id)
            .where(patch.patch_id.in_(some))
        )
        for row in connection.execute(query):
            rank = (row.date.isoformat() if row.date else "", key_of(row.msgid, row.variant))
            name = ("patch-id", row.patch_id)
            best[name] = max(rank, best.get(name, rank))
    return {name: key for name, (_, key) in best.items()}


def _changes(connection: Connection, targets: set[str]) -> dict[tuple[str, str], str]:
    """The series with each change-id: of the version that is named (`ID:v3`), else the latest."""
    trace, series = schema.trace.c, schema.series.c
    wanted = {change_id_trace(target.rpartition(":v")[0] or target): target for target in targets}
    best: dict[tuple[str, str], tuple[int, int, str]] = {}
    for some in chunks(wanted):
        query = (
            select(trace.trace, series.key, series.version, series.version_minor)
            .join(schema.series, series.id == trace.series_id)
            .where(trace.trace.in_(some))
        )
        for row in connection.execute(query):
            target = wanted[row.trace]
            named = target.rpartition(":v")[2] if ":v" in target else ""
            if named.isdecimal() and int(named) != row.version:
                continue
            rank = (row.version, row.version_minor, row.key)
            name = ("change-id", target)
            best[name] = max(rank, best.get(name, rank))
    return {name: rank[2] for name, rank in best.items()}
