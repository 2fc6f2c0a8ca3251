"""Write the evidence for the states of patches, and keep the states right.

Each source of evidence (later revisions, commits, announcements) replaces its own kind of evidence
with `replace_evidence` and then calls `store.activity.states.sync_states`, in the transaction that
causes the change and after `store.locks.lock_states`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from ingest.lifecycle.evidence import Evidence, EvidenceKind
from ingest.store import schema
from ingest.store.activity.states import evidence_rows
from ingest.store.site.list_records import read_list_records
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any

# What later revisions show.
REVISION_KINDS = (EvidenceKind.SUPERSEDED, EvidenceKind.DROPPED)

_KEY = ("message_id", "kind", "source")


def replace_evidence(
    connection: Connection,
    kind: EvidenceKind | Collection[EvidenceKind],
    message_ids: Iterable[int],
    evidence: Mapping[int, Collection[Evidence]],
) -> set[int]:
    """Make the evidence of one kind, or of several, for these patches what `evidence` has.

    `evidence`: by patch; of patches that it does not have, the evidence is removed. Evidence of
    other kinds remains. Returns the patches whose evidence has changed, for `sync_states`.
    """
    kinds = (kind,) if isinstance(kind, EvidenceKind) else kind
    ids = set(message_ids) | evidence.keys()
    stored = _read_rows(connection, "message_id", sorted(ids), kinds)
    return _write_difference(connection, stored, evidence)


def replace_evidence_of_sources(
    connection: Connection,
    kinds: Collection[EvidenceKind],
    sources: Iterable[str],
    evidence: Mapping[int, Collection[Evidence]],
) -> set[int]:
    """Make the evidence of these kinds that these sources give what `evidence` has, by patch.

    Evidence of other sources remains. Returns the patches whose evidence has changed.
    """
    names = sorted({schema.storable(source) for source in sources})
    stored = _read_rows(connection, "source", names, kinds)
    return _write_difference(connection, stored, evidence)


def _read_rows(
    connection: Connection, column: str, values: Iterable[Any], kinds: Collection[EvidenceKind]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the rows of these kinds with these values in a column, by key."""
    table = schema.state_evidence
    of_kinds = select(table).where(table.c.kind.in_({str(kind) for kind in kinds}))
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for chunk in chunks(values):
        query = of_kinds.where(is_any(table.c[column], chunk))
        for row in connection.execute(query).mappings():
            rows[tuple(row[name] for name in _KEY)] = dict(row)
    return rows


def _write_difference(
    connection: Connection,
    stored: Mapping[tuple[Any, ...], dict[str, Any]],
    evidence: Mapping[int, Collection[Evidence]],
) -> set[int]:
    """Replace stored rows, by key, with the rows of `evidence`; return the patches that differ."""
    table = schema.state_evidence
    wanted = {tuple(row[name] for name in _KEY): row for row in evidence_rows(evidence)}
    stale = [key for key, row in stored.items() if wanted.get(key) != row]
    missing = [row for key, row in wanted.items() if stored.get(key) != row]
    # One patch may have many pieces of one kind, of which few change: rows are deleted by key.
    if stale:
        is_own = (table.c[name] == bindparam(f"b_{name}") for name in _KEY)
        keys = [
            {f"b_{name}": value for name, value in zip(_KEY, key, strict=True)}
            for key in sorted(stale)
        ]
        connection.execute(delete(table).where(*is_own), keys)
    insert_rows(connection, table, missing)
    changed = {key[0] for key in stale} | {row["message_id"] for row in missing}
    return changed | _copy_to_list_records(connection, changed)


def _copy_to_list_records(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Give the records of these patches on further lists what later revisions show of them.

    A later revision replaces a patch on every list. What commits and announcements show is of one
    list. Returns the records.
    """
    records = read_list_records(connection, message_ids) if message_ids else {}
    if not records:
        return set()
    kinds = {str(kind) for kind in REVISION_KINDS}
    table = schema.state_evidence
    ids = {row_id for own in records.values() for row_id in own.values()}
    for chunk in chunks(ids):
        of_kinds = table.c.kind.in_(kinds)
        connection.execute(delete(table).where(of_kinds, is_any(table.c.message_id, chunk)))
    rows = _read_rows(connection, "message_id", sorted(records), REVISION_KINDS)
    copies = [
        {**row, "message_id": row_id}
        for row in rows.values()
        for row_id in records[row["message_id"]].values()
    ]
    insert_rows(connection, table, copies)
    return ids
