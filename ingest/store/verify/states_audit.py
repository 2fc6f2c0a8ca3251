"""Compare links between revisions, evidence for states, and states with what they should be.

All of them follow from other rows: of messages, series and members, and from what people set. So
these must be right already, or one damaged row would cause findings about others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from itertools import chain

from sqlalchemy import Connection, select

from ingest.store import schema
from ingest.store.activity.state_sources import read_evidence
from ingest.store.activity.states import find_wrong_states
from ingest.store.batches import iter_keys
from ingest.store.read.messages import read_message_keys
from ingest.store.read.revisions import link_series
from ingest.store.sql.key_lists import is_any
from ingest.store.states.evidence_rows import REVISION_KINDS
from ingest.store.states.maintainers import find_wrong_maintainers, read_unassigned_lists
from ingest.store.states.superseded import find_superseding_evidence
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.landing_audit import audit_announced, audit_landings, compare_evidence

_BATCH = 200


def audit_states(
    connection: Connection,
    *,
    message_ids: Container[int] | None = None,
    derived_only: bool = False,
) -> Iterator[Finding]:
    """Yield what is not as it follows from the other rows.

    `message_ids` restricts the findings to these messages. `derived_only`: without what people
    set, of which an archive tells nothing.
    """
    # Without those of records on further lists, which are not linked.
    is_linked = schema.series.c.thread_id >= 0
    for batch in iter_keys(connection, schema.series.c.id, is_linked, size=_BATCH):
        yield from _audit_links(connection, batch, message_ids)
        yield from _audit_evidence(connection, batch, message_ids)
    yield from _audit_stale(connection, message_ids)
    yield from audit_announced(connection, message_ids=message_ids)
    yield from audit_landings(connection, message_ids=message_ids)
    is_assigning = bool(read_unassigned_lists(connection))  # by a scan in progress
    for batch in iter_keys(connection, schema.patch.c.message_id, size=_BATCH):
        wrong = find_wrong_states(connection, batch)
        unassigned = set() if is_assigning else find_wrong_maintainers(connection, batch)
        keys = read_message_keys(connection, wrong.keys() | unassigned)
        for message_id in sorted(unassigned):
            if message_ids is None or message_id in message_ids:
                yield Finding(keys[message_id], FindingKind.ALTERED, "patch.maintainers")
        for message_id, columns in wrong.items():
            if message_ids is None or message_id in message_ids:
                for column in columns:
                    if derived_only and not column.startswith("derived_"):
                        continue
                    yield Finding(keys[message_id], FindingKind.ALTERED, f"patch.{column}")


def _audit_links(
    connection: Connection, series_ids: Sequence[int], message_ids: Container[int] | None
) -> Iterator[Finding]:
    expected = link_series(connection, series_ids)
    stored: dict[int, dict[int, bool]] = defaultdict(dict)
    link = schema.revision_link
    for row in connection.execute(select(link).where(is_any(link.c.series_id, series_ids))):
        stored[row.series_id][row.earlier_id] = row.chosen
    wrong = [one for one in series_ids if expected.get(one, {}) != stored.get(one, {})]
    for series_id, key in _series_keys(connection, wrong, message_ids).items():
        if expected.get(series_id, {}).keys() - stored.get(series_id, {}).keys():
            yield Finding(key, FindingKind.MISSING, "revision_link")
        else:
            yield Finding(key, FindingKind.ALTERED, "revision_link")


def _series_keys(
    connection: Connection, series_ids: Sequence[int], message_ids: Container[int] | None
) -> dict[int, str]:
    """Return the keys of those series that have one of these messages."""
    member, series = schema.member.c, schema.series.c
    query = select(series.id, series.key, member.message_id).join(
        schema.member, member.series_id == series.id
    )
    rows = connection.execute(query.where(is_any(series.id, series_ids)))
    return {row.id: row.key for row in rows if message_ids is None or row.message_id in message_ids}


def _audit_evidence(
    connection: Connection, series_ids: Sequence[int], message_ids: Container[int] | None
) -> Iterator[Finding]:
    """Compare the evidence that later revisions give."""
    expected = find_superseding_evidence(connection, series_ids)
    member = schema.member.c
    query = select(member.message_id).where(is_any(member.series_id, series_ids))
    ids = list(connection.execute(query).scalars())
    stored = {
        message_id: [item for item in evidence if item.kind in REVISION_KINDS]
        for message_id, evidence in read_evidence(connection, ids).items()
    }
    keys = read_message_keys(connection, ids)
    for message_id in ids:
        if message_ids is not None and message_id not in message_ids:
            continue
        yield from compare_evidence(
            keys[message_id], expected.get(message_id, []), stored.get(message_id, [])
        )


def _audit_stale(connection: Connection, message_ids: Container[int] | None) -> Iterator[Finding]:
    """Yield links of series that do not exist, and evidence for messages that are no patches."""
    link, evidence, patch = schema.revision_link.c, schema.state_evidence.c, schema.patch.c
    if message_ids is None:
        is_own = schema.series.c.id == link.series_id
        of_none = iter_keys(
            connection,
            link.series_id,
            schema.series.c.id.is_(None),
            source=schema.revision_link.outerjoin(schema.series, is_own),
        )
        for series_id in chain.from_iterable(of_none):
            name = f"series {series_id}"
            yield Finding(name, FindingKind.ALTERED, "revision_link of no series")
    query = (
        select(evidence.message_id)
        .distinct()
        .select_from(
            schema.state_evidence.outerjoin(schema.patch, patch.message_id == evidence.message_id)
        )
        .where(
            patch.message_id.is_(None), evidence.kind.in_([str(kind) for kind in REVISION_KINDS])
        )
    )
    ids = list(connection.execute(query).scalars())
    for message_id, key in read_message_keys(connection, ids).items():
        if message_ids is None or message_id in message_ids:
            yield Finding(key, FindingKind.ALTERED, "state_evidence, but it is no patch")
