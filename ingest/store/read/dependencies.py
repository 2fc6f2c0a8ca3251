"""Read what messages depend on, and which of it the store has.

Edges are stored with the name that the mail gives, and resolved when they are read. So nothing has
to be written when a target arrives later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import key_of
from ingest.series.supersede import change_id_trace
from ingest.store import schema
from ingest.store.read.messages import resolve_aliases
from ingest.store.sql import chunks

_Target = tuple[str, str]  # kind and target of an edge


@frozen
class DependencyEdge:
    """A dependency of a message.

    `resolved` is the key of the message that is the target. For a change-id this is the key of the
    latest revision of the series that has it. It is None if the store does not have the target, and
    for commits and URLs.
    """

    kind: str
    target: str
    resolved: str | None


def read_dependencies(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, list[DependencyEdge]]:
    """Return the edges of these messages by message id, in the order of the mail."""
    dependency = schema.dependency.c
    columns = select(dependency.message_id, dependency.position, dependency.kind, dependency.target)
    rows = [
        row
        for chunk in chunks(message_ids)
        for row in connection.execute(columns.where(dependency.message_id.in_(chunk)))
    ]
    targets: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        targets[row.kind].add(row.target)
    resolved = _resolve_messages(connection, targets["message"])
    resolved |= _resolve_patch_ids(connection, targets["patch-id"])
    resolved |= _resolve_change_ids(connection, targets["change-id"])
    edges: dict[int, list[DependencyEdge]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.message_id, row.position)):
        key = resolved.get((row.kind, row.target))
        edges[row.message_id].append(DependencyEdge(row.kind, row.target, key))
    return edges


def _resolve_messages(connection: Connection, msgids: set[str]) -> dict[_Target, str]:
    message = schema.message.c
    resolved: dict[_Target, str] = {}
    for chunk in chunks(msgids):
        query = select(message.msgid).where(message.msgid.in_(chunk), message.variant == "")
        for msgid in connection.execute(query).scalars():
            resolved["message", msgid] = msgid
    unknown = {msgid for msgid in msgids if ("message", msgid) not in resolved}
    for alias, msgid in resolve_aliases(connection, unknown).items():
        resolved["message", alias] = msgid
    return resolved


def _resolve_patch_ids(connection: Connection, patch_ids: set[str]) -> dict[_Target, str]:
    """Return the latest patch with each patch-id; of patches with one date, the greatest key."""
    message, patch = schema.message.c, schema.patch.c
    best: dict[_Target, tuple[str, str]] = {}
    for chunk in chunks(patch_ids):
        query = (
            select(patch.patch_id, message.msgid, message.variant, message.date)
            .join(schema.message, message.id == patch.message_id)
            .where(patch.patch_id.in_(chunk))
        )
        for row in connection.execute(query):
            rank = (row.date.isoformat() if row.date else "", key_of(row.msgid, row.variant))
            target = ("patch-id", row.patch_id)
            best[target] = max(rank, best.get(target, rank))
    return {target: key for target, (_, key) in best.items()}


def _resolve_change_ids(connection: Connection, targets: set[str]) -> dict[_Target, str]:
    """Return the series with each change-id.

    A target may name a version (`ID:v3`); without one, it means the latest series.
    """
    trace, series = schema.trace.c, schema.series.c
    target_of = {
        change_id_trace(target.rpartition(":v")[0] or target): target for target in targets
    }
    best: dict[_Target, tuple[int, int, str]] = {}
    for chunk in chunks(target_of):
        query = (
            select(trace.trace, series.key, series.version, series.version_minor)
            .join(schema.series, series.id == trace.series_id)
            .where(trace.trace.in_(chunk))
        )
        for row in connection.execute(query):
            target = target_of[row.trace]
            version = target.rpartition(":v")[2] if ":v" in target else ""
            if version.isdecimal() and int(version) != row.version:
                continue
            rank = (row.version, row.version_minor, row.key)
            best["change-id", target] = max(rank, best.get(("change-id", target), rank))
    return {target: rank[2] for target, rank in best.items()}
