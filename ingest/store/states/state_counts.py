"""Count the states of patches by their evidence, and find evidence that contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, func, select

from ingest.frozen import frozen
from ingest.lifecycle.evidence import ACCEPTED, EvidenceKind
from ingest.lifecycle.landing import find_disagreement
from ingest.store import schema
from ingest.store.commits.facts import iter_commits
from ingest.store.states.landing import find_candidates, read_compared


@frozen(order=True)
class StateCount:
    """How many patches have a state. `kind`: what shows it, '' where the mail or a person does."""

    state: str
    kind: str
    patches: int


@frozen(order=True)
class Contradiction:
    """Evidence for a patch that something else contradicts. `key` is that of the patch."""

    key: str
    detail: str


def count_states(connection: Connection) -> list[StateCount]:
    """Count the patches by the state that is shown and the strongest evidence for it, sorted."""
    evidence = schema.state_evidence.c
    shown = schema.current_state.label("state")
    strongest = (
        select(evidence.kind)
        .where(evidence.message_id == schema.patch.c.message_id, evidence.state == shown)
        .order_by(*(evidence.kind != str(kind) for kind in EvidenceKind))
        .limit(1)
        .scalar_subquery()
    )
    rows = select(shown, func.coalesce(strongest, "").label("kind")).subquery()
    query = select(rows.c.state, rows.c.kind, func.count()).group_by(rows.c.state, rows.c.kind)
    return sorted(StateCount(*row) for row in connection.execute(query))


def find_contradictions(
    connection: Connection, *, announced_before: datetime
) -> list[Contradiction]:
    """Return the evidence that contradicts other evidence, sorted.

    These are commits that several patches are said to be, commits whose date names another patch
    than their patch-id, and patches that were announced as accepted before a time and that no
    repository has. The latter are not looked for where no commit of any repository is known.
    """
    return sorted(
        {
            *_find_shared_commits(connection),
            *_find_disagreements(connection),
            *_find_missing(connection, announced_before),
        }
    )


_BATCH = 500


def _find_disagreements(connection: Connection) -> Iterator[Contradiction]:
    for commit_ids in iter_commits(connection, _BATCH):
        candidates = find_candidates(connection, commit_ids)
        for compared in read_compared(connection, sorted(candidates), candidates):
            facts = [patch.facts for patch in compared.patches]
            if wrong := find_disagreement(compared.commit, facts):
                yield Contradiction(
                    wrong.same_content,
                    f"has the patch-id of commit {compared.commit.id}, "
                    f"whose author and date are those of {wrong.dated}",
                )


def _find_shared_commits(connection: Connection) -> list[Contradiction]:
    evidence, message = schema.state_evidence.c, schema.message.c
    is_landed = evidence.kind == str(EvidenceKind.LANDED)
    shared = (
        select(evidence.commit_ref)
        .where(is_landed)
        .group_by(evidence.commit_ref)
        .having(func.count(evidence.message_id.distinct()) > 1)
    )
    query = (
        select(message.msgid, evidence.commit_ref)
        .distinct()
        .join(schema.message, message.id == evidence.message_id)
        .where(is_landed, evidence.commit_ref.in_(shared))
    )
    return [
        Contradiction(row.msgid, f"commit {row.commit_ref} is also said to be another patch")
        for row in connection.execute(query)
    ]


def _find_missing(connection: Connection, announced_before: datetime) -> list[Contradiction]:
    evidence, message = schema.state_evidence.c, schema.message.c
    landed = schema.state_evidence.alias("landed")
    is_landed = landed.c.kind == str(EvidenceKind.LANDED)
    if connection.execute(select(landed.c.message_id).where(is_landed).limit(1)).first() is None:
        return []
    query = (
        select(message.msgid, evidence.source)
        .join(schema.message, message.id == evidence.message_id)
        .where(
            evidence.kind == str(EvidenceKind.ANNOUNCED),
            evidence.state == ACCEPTED,
            evidence.date < announced_before,
            ~select(landed.c.message_id)
            .where(is_landed, landed.c.message_id == evidence.message_id)
            .exists(),
        )
    )
    return [
        Contradiction(row.msgid, f"announced as accepted in {row.source}, but in no repository")
        for row in connection.execute(query)
    ]
