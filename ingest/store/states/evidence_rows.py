"""Write the evidence for the states of patches, and keep the states right.

Each source of evidence (later revisions, commits, announcements) replaces its own kind of evidence
with `replace_evidence` and then calls `sync_states`, in the transaction that causes the change and
after `store.locks.lock_states`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from ingest.lifecycle.evidence import Evidence, EvidenceKind
from ingest.store import schema
from ingest.store.activity.states import evidence_rows, read_evidence, sync_states
from ingest.store.sql import chunks, insert_rows, is_any

__all__ = [
    "REVISION_KINDS",
    "read_evidence",
    "replace_evidence",
    "replace_evidence_of_sources",
    "sync_states",
]

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
    kinds = {str(kind)} if isinstance(kind, EvidenceKind) else {str(item) for item in kind}
    ids = set(message_ids) | evidence.keys()
    table = schema.state_evidence
    stored: dict[tuple[Any, ...], dict[str, Any]] = {}
    for chunk in chunks(sorted(ids)):
        query = select(table).where(is_any(table.c.message_id, chunk), table.c.kind.in_(kinds))
        for row in connection.execute(query).mappings():
            stored[tuple(row[name] for name in _KEY)] = dict(row)
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
    table = schema.state_evidence
    names = {str(kind) for kind in kinds}
    stored: dict[tuple[Any, ...], dict[str, Any]] = {}
    for chunk in chunks(sorted({schema.storable(source) for source in sources})):
        query = select(table).where(is_any(table.c.source, chunk), table.c.kind.in_(names))
        for row in connection.execute(query).mappings():
            stored[tuple(row[name] for name in _KEY)] = dict(row)
    return _write_difference(connection, stored, evidence)


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
    for message_id, kind_name, source in sorted(stale):
        connection.execute(
            delete(table).where(
                table.c.message_id == message_id,
                table.c.kind == kind_name,
                table.c.source == source,
            )
        )
    insert_rows(connection, table, missing)
    return {key[0] for key in stale} | {row["message_id"] for row in missing}
