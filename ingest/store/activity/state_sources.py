"""Read where the states of patches come from: the evidence, and what people set.

`states` writes what follows from both. Reading is separate, so that a command that shows one record
imports none of the code that writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.lifecycle.evidence import (
    ChosenState,
    Evidence,
    EvidenceKind,
    is_chosen,
    sort_evidence,
)
from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any


def read_evidence(connection: Connection, message_ids: Iterable[int]) -> dict[int, list[Evidence]]:
    """Return the evidence for the states of these patches, by patch, in the order to show it.

    Patches without evidence are missing from the result.
    """
    table = schema.state_evidence
    evidence: dict[int, list[Evidence]] = defaultdict(list)
    for chunk in chunks(message_ids):
        query = select(table).where(is_any(table.c.message_id, chunk))
        for row in connection.execute(query).all():
            evidence[row.message_id].append(
                Evidence(
                    kind=EvidenceKind(row.kind),
                    state=row.state,
                    date=row.date,
                    source=row.source,
                    commit_ref=row.commit_ref,
                    detail=row.detail,
                )
            )
    return {message_id: sort_evidence(items) for message_id, items in evidence.items()}


@frozen
class StateSource:
    """Where the state of a patch comes from.

    `evidence`: all evidence, in the order to show it; `is_set`: whether the state that is shown is
    one that a person set; then `account` and `date` say who set it, and when, as far as is known.
    """

    evidence: tuple[Evidence, ...]
    is_set: bool = False
    account: str | None = None
    date: datetime | None = None


def read_state_sources(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, StateSource]:
    """Return where the states of these patches come from, by patch."""
    ids = list(message_ids)
    evidence = read_evidence(connection, ids)
    sources = {message_id: StateSource(tuple(evidence.get(message_id, ()))) for message_id in ids}
    override, account = schema.override.c, schema.account.c
    query = (
        select(override.message_id, override.state, override.state_date, account.name)
        .select_from(
            schema.override.outerjoin(schema.account, account.id == override.state_account_id)
        )
        .where(override.state.is_not(None))
    )
    for chunk in chunks(ids):
        for row in connection.execute(query.where(is_any(override.message_id, chunk))):
            pieces = sources[row.message_id].evidence
            chosen = ChosenState(state=row.state, date=row.state_date)
            if is_chosen(chosen, pieces):
                sources[row.message_id] = StateSource(pieces, True, row.name, row.state_date)
    return sources
