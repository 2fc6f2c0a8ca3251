"""Compare what is stored of commits and announcements with what follows from the other rows.

The facts of a commit, and which refs contain it, come from git and are taken as they are stored: a
scan makes them again. Everything that follows from them and from mail is derived again here.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from ingest.lifecycle.evidence import Evidence, EvidenceKind
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.activity.state_sources import read_evidence
from ingest.store.batches import iter_keys, merge_keys
from ingest.store.commits.facts import iter_commits, read_facts
from ingest.store.commits.keys import commit_keys
from ingest.store.commits.repositories import has_patch_keys, has_repositories
from ingest.store.read.messages import read_message_keys
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.states.landing import compute_landings, find_candidates, find_landed_evidence
from ingest.store.states.landing_patches import read_patch_keys
from ingest.store.states.targets import find_announced_evidence
from ingest.store.verify.findings import Finding, FindingKind

_BATCH = 500
_ANNOUNCED = (EvidenceKind.ANNOUNCED, EvidenceKind.CLAIMED)
_ANNOUNCED_KINDS = [str(kind) for kind in _ANNOUNCED]


def audit_landings(
    connection: Connection, *, message_ids: Container[int] | None = None
) -> Iterator[Finding]:
    """Yield what is not as it follows from the commits and the patches.

    `message_ids` restricts the findings to these messages, and leaves out those about commits.
    """
    if has_patch_keys(connection):
        yield from _audit_patch_keys(connection, message_ids)
    for commit_ids in iter_commits(connection, _BATCH):
        wanted = {number: commit_keys(item) for number, item in _read_facts(connection, commit_ids)}
        for number in _find_other_keys(connection, schema.commit_key, "commit_id", wanted):
            if message_ids is None:
                name = read_facts(connection, [number])[number].id
                yield Finding(f"commit {name}", FindingKind.ALTERED, "commit_key")
        yield from _audit_commits(connection, commit_ids, message_ids)
    landed = schema.state_evidence.c
    stored = iter_keys(connection, landed.message_id, landed.kind == str(EvidenceKind.LANDED))
    has_any = has_repositories(connection)
    patches = iter_keys(connection, schema.patch.c.message_id)
    for batch in merge_keys(patches, stored) if has_any else stored:
        expected = find_landed_evidence(connection, batch) if has_any else {}
        yield from _compare(connection, batch, expected, (EvidenceKind.LANDED,), message_ids)


def audit_announced(
    connection: Connection, *, message_ids: Container[int] | None = None
) -> Iterator[Finding]:
    """Yield the patches whose evidence is not what announcements show.

    The evidence that each announcement gives is compared with what is stored of it, so that memory
    holds that of a batch of announcements.
    """
    for batch in iter_keys(connection, schema.announcement.c.message_id, size=_BATCH):
        expected = find_announced_evidence(connection, batch)
        stored = _read_announced(connection, read_message_keys(connection, batch).values())
        ids = sorted(expected.keys() | stored.keys())
        keys = read_message_keys(connection, ids)
        for message_id in ids:
            if message_ids is None or message_id in message_ids:
                name = keys.get(message_id, f"message {message_id}")
                wanted = expected.get(message_id, ())
                yield from compare_evidence(name, wanted, stored.get(message_id, ()))
    yield from _audit_sources(connection, message_ids)


def _read_announced(connection: Connection, sources: Iterable[str]) -> dict[int, list[Evidence]]:
    """Return what is stored of the evidence of these announcements, by patch."""
    table = schema.state_evidence.c
    query = select(table.message_id).where(table.kind.in_(_ANNOUNCED_KINDS))
    wanted = set(sources)
    ids = read_values(connection, query, table.source, wanted)
    evidence = {
        message_id: [item for item in items if item.kind in _ANNOUNCED and item.source in wanted]
        for message_id, items in read_evidence(connection, sorted(ids)).items()
    }
    return {message_id: items for message_id, items in evidence.items() if items}


def _audit_sources(connection: Connection, message_ids: Container[int] | None) -> Iterator[Finding]:
    """Yield the patches with evidence of announcements that do not exist."""
    table, message = schema.state_evidence.c, schema.message.c
    is_announced = table.kind.in_(_ANNOUNCED_KINDS)
    announcements = schema.announcement.join(
        schema.message, message.id == schema.announcement.c.message_id
    )
    for batch in iter_keys(connection, table.message_id, is_announced, size=_BATCH):
        query = select(table.message_id, table.source).where(is_announced)
        rows = connection.execute(query.where(is_any(table.message_id, batch))).all()
        sources = {row.source for row in rows}
        msgids = sources | {source.rpartition("#")[0] for source in sources}
        of_sources = select(message.msgid, message.variant).select_from(announcements)
        found = connection.execute(of_sources.where(is_any(message.msgid, msgids)))
        known = {key_of(row.msgid, row.variant) for row in found}
        wrong = {row.message_id for row in rows if row.source not in known}
        keys = read_message_keys(connection, wrong)
        for message_id in sorted(wrong):
            if message_ids is None or message_id in message_ids:
                name = keys.get(message_id, f"message {message_id}")
                yield Finding(name, FindingKind.ALTERED, "state_evidence")


def _read_facts(connection: Connection, commit_ids: Sequence[int]) -> Iterable[tuple[int, Any]]:
    return read_facts(connection, commit_ids).items()


def _audit_patch_keys(
    connection: Connection, message_ids: Container[int] | None
) -> Iterator[Finding]:
    patches = iter_keys(connection, schema.patch.c.message_id)
    with_keys = iter_keys(connection, schema.patch_key.c.message_id)
    for batch in merge_keys(patches, with_keys):
        wanted = {number: set[int]() for number in batch} | read_patch_keys(connection, batch)
        wrong = _find_other_keys(connection, schema.patch_key, "message_id", wanted)
        keys = read_message_keys(connection, wrong)
        for message_id in wrong:
            if message_ids is None or message_id in message_ids:
                name = keys.get(message_id, f"message {message_id}")
                yield Finding(name, FindingKind.ALTERED, "patch_key")


def _find_other_keys(
    connection: Connection, table: Table, column: str, wanted: Mapping[int, set[int]]
) -> list[int]:
    """Return the owners whose keys are not those that are wanted."""
    stored: dict[int, set[int]] = {number: set() for number in wanted}
    query = select(table.c[column], table.c.key)
    for chunk in chunks(wanted):
        for owner, key in connection.execute(query.where(is_any(table.c[column], chunk))):
            stored[owner].add(key)
    return [number for number, keys in wanted.items() if stored[number] != keys]


def _audit_commits(
    connection: Connection, commit_ids: list[int], message_ids: Container[int] | None
) -> Iterator[Finding]:
    """Compare which patches landed in these commits, and which need other patch-ids."""
    table = schema.landing
    stored = {
        tuple(row)
        for row in connection.execute(
            select(table.c.commit_id, table.c.list_id, table.c.message_id, table.c.found_by).where(
                is_any(table.c.commit_id, commit_ids)
            )
        )
    }
    candidates = find_candidates(connection, commit_ids)
    landings = compute_landings(connection, sorted(candidates), candidates)
    expected = {
        (row["commit_id"], row["list_id"], row["message_id"], row["found_by"])
        for row in landings.rows
    }
    wrong = sorted(stored ^ expected)
    keys = read_message_keys(connection, {row[2] for row in wrong})
    for row in wrong:
        if message_ids is None or row[2] in message_ids:
            kind = FindingKind.MISSING if row in expected else FindingKind.ALTERED
            yield Finding(keys.get(row[2], f"message {row[2]}"), kind, "landing")


def _compare(
    connection: Connection,
    ids: Sequence[int],
    expected: Mapping[int, Collection[Evidence]],
    kinds: Collection[EvidenceKind],
    message_ids: Container[int] | None,
) -> Iterator[Finding]:
    """Compare the evidence of these kinds that messages have with what is expected."""
    stored = read_evidence(connection, ids)
    keys = read_message_keys(connection, ids)
    for message_id in ids:
        if message_ids is not None and message_id not in message_ids:
            continue
        own = [item for item in stored.get(message_id, ()) if item.kind in kinds]
        name = keys.get(message_id, f"message {message_id}")
        yield from compare_evidence(name, expected.get(message_id, ()), own)


def compare_evidence(
    key: str, expected: Collection[Evidence], stored: Collection[Evidence]
) -> Iterator[Finding]:
    """Yield a finding if a patch has other evidence than is expected."""
    if len(expected) > len(stored):
        yield Finding(key, FindingKind.MISSING, "state_evidence")
    elif sorted(map(repr, expected)) != sorted(map(repr, stored)):
        yield Finding(key, FindingKind.ALTERED, "state_evidence")
