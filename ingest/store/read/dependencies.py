"""Read what messages and series depend on, and which of it the store has.

Edges are stored with the name that the mail gives, and resolved when they are read. So nothing has
to be written when a target arrives later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from ingest.frozen import frozen
from ingest.series.facts import key_of, load_facts
from ingest.series.links.posting import change_id_trace
from ingest.store import schema
from ingest.store.read.messages import resolve_aliases
from ingest.store.sql.key_lists import chunks

MAX_RELATED = 1_000  # series that one depends on, or that depend on it, which are read

# The kinds that name a message, or a series by a message of it. The others are for people.
RESOLVED_KINDS = ("message", "patch-id", "change-id")

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
    resolved = _resolve(connection, ((row.kind, row.target) for row in rows))
    edges: dict[int, list[DependencyEdge]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.message_id, row.position)):
        key = resolved.get((row.kind, row.target))
        edges[row.message_id].append(DependencyEdge(row.kind, row.target, key))
    return edges


@frozen
class SeriesDependencies:
    """The dependencies between a series and others, as numbers of series in rising order.

    `dependencies`: the series that its cover and patches say that they build on, as far as the
    store has them. `dependents`: those that say so of this one. At most `MAX_RELATED` of each: the
    first to be stored.
    """

    dependencies: tuple[int, ...] = ()
    dependents: tuple[int, ...] = ()


def read_series_dependencies(
    connection: Connection, series_ids: Iterable[int]
) -> dict[int, SeriesDependencies]:
    """Return the dependencies of these series, both ways, by series id.

    A series without any is missing from the result. The number of queries does not depend on the
    number of series.
    """
    ids = sorted(set(series_ids))
    edges = _read_edges_of(connection, ids)
    names = _read_names(connection, ids)
    edges += _read_edges_to(connection, names)
    resolved = _resolve(connection, {edge.target for edge in edges})
    series_of = _find_series(connection, set(resolved.values()))
    dependencies: dict[int, set[int]] = defaultdict(set)
    dependents: dict[int, set[int]] = defaultdict(set)
    for edge in edges:
        target = series_of.get(resolved.get(edge.target, ""))
        if target is not None and target != edge.series_id:
            dependencies[edge.series_id].add(target)
            dependents[target].add(edge.series_id)
    return {
        series_id: SeriesDependencies(
            tuple(sorted(dependencies[series_id])[:MAX_RELATED]),
            tuple(sorted(dependents[series_id])[:MAX_RELATED]),
        )
        for series_id in ids
        if dependencies[series_id] or dependents[series_id]
    }


@frozen
class _SeriesEdge:
    """A dependency that a member of a series states."""

    series_id: int
    target: _Target


def _read_edges_of(connection: Connection, series_ids: Iterable[int]) -> list[_SeriesEdge]:
    """Return what the members of these series say that they depend on, at most `MAX_RELATED`."""
    member = schema.member.c
    return _read_edges(connection, member.series_id, series_ids)


def _read_names(connection: Connection, series_ids: Iterable[int]) -> set[str]:
    """Return everything by which a dependency may name one of these series or its members."""
    member, message, patch = schema.member.c, schema.message.c, schema.patch.c
    query = (
        select(message.msgid, message.variant, message.date, message.facts, patch.patch_id)
        .select_from(
            schema.member.join(schema.message, message.id == member.message_id).outerjoin(
                schema.patch, patch.message_id == member.message_id
            )
        )
        .where(message.variant == "")
    )
    names: set[str] = set()
    for chunk in chunks(series_ids):
        for row in connection.execute(query.where(member.series_id.in_(chunk))):
            names.add(row.msgid)
            if row.patch_id is not None:
                names.add(row.patch_id)
            if '"change_id":' in row.facts:
                facts = load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date)
                names |= {facts.change_id or "", f"{facts.change_id}:v{facts.version}"}
    return names


def _read_edges_to(connection: Connection, names: Iterable[str]) -> list[_SeriesEdge]:
    """Return the dependencies of any series on these names, at most `MAX_RELATED` on each."""
    return _read_edges(connection, schema.dependency.c.target, names)


def _read_edges(
    connection: Connection, column: ColumnElement[Any], values: Iterable[int | str]
) -> list[_SeriesEdge]:
    """Return the dependencies with these values in a column, the first `MAX_RELATED` of each."""
    dependency, member = schema.dependency.c, schema.member.c
    order = (member.series_id, dependency.message_id, dependency.position)
    rank = func.row_number().over(partition_by=column, order_by=order).label("rank")
    joined = (
        select(member.series_id, dependency.kind, dependency.target, rank)
        .select_from(schema.dependency)
        .join(schema.member, member.message_id == dependency.message_id)
        .where(dependency.kind.in_(RESOLVED_KINDS))
    )
    edges: list[_SeriesEdge] = []
    for chunk in chunks(values):
        ranked = joined.where(column.in_(chunk)).subquery()
        query = select(ranked.c.series_id, ranked.c.kind, ranked.c.target)
        edges += [
            _SeriesEdge(row.series_id, (row.kind, row.target))
            for row in connection.execute(query.where(ranked.c.rank <= MAX_RELATED))
        ]
    return edges


def _find_series(connection: Connection, keys: set[str]) -> dict[str, int]:
    """Return the series that the messages with these keys belong to, by key."""
    message, member = schema.message.c, schema.member.c
    query = select(message.msgid, message.variant, member.series_id).join(
        schema.member, member.message_id == message.id
    )
    series_of: dict[str, int] = {}
    for chunk in chunks({key.partition("#")[0] for key in keys}):
        for row in connection.execute(query.where(message.msgid.in_(chunk))):
            series_of[key_of(row.msgid, row.variant)] = row.series_id
    return series_of


def _resolve(connection: Connection, targets: Iterable[_Target]) -> dict[_Target, str]:
    """Return the keys of the messages that dependencies name, as far as the store has them."""
    by_kind: dict[str, set[str]] = defaultdict(set)
    for kind, target in targets:
        by_kind[kind].add(target)
    resolved = _resolve_messages(connection, by_kind["message"])
    resolved |= _resolve_patch_ids(connection, by_kind["patch-id"])
    resolved |= _resolve_change_ids(connection, by_kind["change-id"])
    return resolved


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
    targets_of: dict[int, list[str]] = defaultdict(list)
    for target in targets:
        targets_of[change_id_trace(target.rpartition(":v")[0] or target)].append(target)
    best: dict[_Target, tuple[int, int, str]] = {}
    for chunk in chunks(targets_of):
        query = (
            select(trace.trace, series.key, series.version, series.version_minor)
            .join(schema.series, series.id == trace.series_id)
            .where(trace.trace.in_(chunk))
        )
        for row in connection.execute(query):
            rank = (row.version, row.version_minor, row.key)
            for target in targets_of[row.trace]:
                version = target.rpartition(":v")[2] if ":v" in target else ""
                if not version.isdecimal() or version.lstrip("0") == str(row.version):
                    best["change-id", target] = max(rank, best.get(("change-id", target), rank))
    return {target: rank[2] for target, rank in best.items()}
