"""Find the patches that commits were made from, and write what that shows of their states.

`match_commits` is called for commits whose facts or refs changed, `match_landings` for patches that
were written. Both end in the same rows, whichever came first: a commit is compared with all patches
that share a key with it. The first needs `store.locks.lock_states`, the other `lock_landings`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, delete, exists, select

from ingest.frozen import frozen
from ingest.lifecycle.commit import CommitFacts
from ingest.lifecycle.evidence import UNDATED, Evidence, EvidenceKind
from ingest.lifecycle.landing import (
    MatchKey,
    match_commit,
    needs_other_patch_ids,
)
from ingest.model import Derived
from ingest.store import schema
from ingest.store.commits.facts import find_commits_by_keys, read_facts, set_pending
from ingest.store.commits.keys import find_overfull_keys, patch_keys, read_commit_keys
from ingest.store.commits.repositories import has_repositories
from ingest.store.locks import lock_states, lock_states_shared
from ingest.store.read.messages import read_list_names
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.sql.row_changes import compare_rows
from ingest.store.states.evidence_rows import replace_evidence
from ingest.store.states.landing_patches import (
    LandingPatch,
    make_new_facts,
    read_patch_keys,
    read_patches,
)

# Commits whose candidates are loaded at the same time, with their diffs.
_STEP = 200


def lock_landings(
    connection: Connection, mails: Iterable[Derived], stored: Collection[int]
) -> None:
    """Take the lock that is needed to match new patches, and messages that are `stored` already.

    Most patches arrive before their commits: they only keep a scan from storing these meanwhile.
    Where a commit shares a key with a patch, all states are locked. Take this lock where
    `lock_states` is taken.
    """
    if connection.dialect.name != "postgresql" or not has_repositories(connection):
        return
    savepoint = connection.begin_nested()
    lock_states_shared(connection)
    keys = read_commit_keys(connection, schema.patch_key, "message_id", stored)
    keys.update(*(patch_keys(make_new_facts(mail)) for mail in mails))
    if find_commits_by_keys(connection, keys):
        savepoint.rollback()
        lock_states(connection)
    else:
        savepoint.commit()


def match_landings(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Match patches that were written, or whose lists changed, or that are no patches any more.

    Returns the patches whose evidence has changed, for `sync_states`. Costs one query where no
    repository is configured.
    """
    if not message_ids or not has_repositories(connection):
        return set()
    ids = sorted(set(message_ids))
    commit_ids = _read_landings(connection, "commit_id", "message_id", ids)
    commit_ids |= _write_patch_keys(connection, ids)
    return match_commits(connection, commit_ids)


def fill_patch_keys(connection: Connection, *, after: int, count: int) -> int | None:
    """Write the keys of the next patches by id. Returns the last id, None where there is none."""
    patch = schema.patch.c.message_id
    query = select(patch).where(patch > after).order_by(patch).limit(count)
    ids = list(connection.execute(query).scalars())
    _write_patch_keys(connection, ids)
    return ids[-1] if ids else None


def delete_patch_keys(connection: Connection) -> None:
    """Delete the keys of all patches, where no repository is configured any more."""
    connection.execute(delete(schema.patch_key))


def match_commits(connection: Connection, commit_ids: Iterable[int]) -> set[int]:
    """Match commits that were stored, or whose refs changed, and write what they show.

    Returns the patches whose evidence has changed, for `sync_states`.
    """
    ids = set(commit_ids)
    ids |= _find_crowded_out(connection, ids)
    candidates = find_candidates(connection, ids)
    # Most commits have neither, and their facts need not be read.
    ordered = sorted(candidates.keys() | _read_landings(connection, "commit_id", "commit_id", ids))
    set_pending(connection, sorted(ids.difference(ordered)), value=True)
    changed: set[int] = set()
    for start in range(0, len(ordered), _STEP):
        changed |= _match_step(connection, ordered[start : start + _STEP], candidates)
    return _write_evidence(connection, changed)


def _write_evidence(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Make the evidence of these patches what the commits show that were made from them."""
    if not message_ids:
        return set()
    evidence = find_landed_evidence(connection, message_ids)
    return replace_evidence(connection, EvidenceKind.LANDED, message_ids, evidence)


def find_landed_evidence(
    connection: Connection, message_ids: Collection[int]
) -> dict[int, list[Evidence]]:
    """Return what the commits show that were made from these patches, by patch."""
    evidence: dict[int, dict[str, Evidence]] = defaultdict(dict)
    for chunk in chunks(sorted(message_ids)):
        rows = connection.execute(_evidence_query(chunk)).all()
        # Sorted here: databases do not agree on the order of text.
        for row in sorted(rows, key=lambda row: row.list_id):
            source = f"{row.path} {row.name} {row.sha}"
            evidence[row.message_id][source] = Evidence(
                kind=EvidenceKind.LANDED,
                state=row.state,
                date=row.commit_date or UNDATED,
                source=source,
                commit_ref=row.sha,
                detail=f"commit {row.sha[:12]} in {row.name} ({describe_keys(row.found_by)})",
            )
    return {message_id: list(items.values()) for message_id, items in evidence.items()}


_DESCRIPTIONS = {
    MatchKey.LINK: "link to the mail",
    MatchKey.PATCH_ID: "same patch-id",
    MatchKey.OTHER_PATCH_ID: "same patch-id by another diff algorithm",
    MatchKey.DATE: "author date",
    MatchKey.AUTHOR: "author",
    MatchKey.TITLE: "title",
    MatchKey.LINES: "changed lines",
}


def describe_keys(found_by: str) -> str:
    """Return the keys by which a patch was found, as people read them."""
    return "; ".join(_DESCRIPTIONS[MatchKey(key)] for key in found_by.split(","))


def _evidence_query(message_ids: Collection[int]) -> Any:
    landing, commit, member = schema.landing.c, schema.git_commit.c, schema.ref_commit.c
    ref, repository = schema.scanned_ref.c, schema.repository.c
    lists = schema.repository_list.c
    joined = (
        schema.landing.join(schema.git_commit, commit.id == landing.commit_id)
        .join(schema.ref_commit, member.commit_id == commit.id)
        .join(schema.scanned_ref, ref.id == member.ref_id)
        .join(schema.repository, repository.id == ref.repository_id)
        .join(
            schema.repository_list,
            (lists.repository_id == repository.id) & (lists.list_id == landing.list_id),
        )
    )
    return (
        select(
            landing.message_id,
            landing.list_id,
            landing.found_by,
            commit.sha,
            commit.commit_date,
            ref.name,
            ref.state,
            repository.path,
        )
        .select_from(joined)
        .where(is_any(landing.message_id, message_ids))
    )


def _read_landings(
    connection: Connection, wanted: str, column: str, ids: Iterable[int]
) -> set[int]:
    """Return a column of the landings in which another column has one of these ids."""
    table = schema.landing.c
    return read_values(connection, select(table[wanted]), table[column], ids)


def _write_patch_keys(connection: Connection, message_ids: Collection[int]) -> set[int]:
    """Write the keys of patches, and return the commits that they may change."""
    table = schema.patch_key
    before = read_commit_keys(connection, table, "message_id", message_ids)
    overfull_before = find_overfull_keys(connection, table, before)
    facts = read_patch_keys(connection, message_ids)
    rows = [
        {"key": key, "message_id": message_id}
        for message_id, keys in facts.items()
        for key in sorted(keys)
    ]
    compare_rows(connection, table, "message_id", message_ids, rows).write(connection)
    keys = before.union(*facts.values())
    # A key that has just become overfull, or is no longer, changes commits that have it.
    overfull = find_overfull_keys(connection, table, keys) & overfull_before
    keys -= overfull
    keys -= find_overfull_keys(connection, schema.commit_key, keys)
    return find_commits_by_keys(connection, keys)


def _find_crowded_out(connection: Connection, commit_ids: Collection[int]) -> set[int]:
    """Return commits that have matched by a key which has become overfull by these commits."""
    keys = read_commit_keys(connection, schema.commit_key, "commit_id", commit_ids)
    overfull = find_overfull_keys(connection, schema.commit_key, keys)
    table, landing = schema.commit_key.c, schema.landing.c
    query = select(landing.commit_id).join(schema.commit_key, table.commit_id == landing.commit_id)
    return read_values(connection, query, table.key, overfull)


def _match_step(
    connection: Connection, commit_ids: list[int], candidates: Mapping[int, set[int]]
) -> set[int]:
    """Match some commits, and return the patches whose evidence may change."""
    landings = compute_landings(connection, commit_ids, candidates)
    before = _read_landings(connection, "message_id", "commit_id", commit_ids)
    compare_rows(connection, schema.landing, "commit_id", commit_ids, landings.rows).write(
        connection
    )
    set_pending(connection, sorted(landings.pending), value=True)
    set_pending(connection, sorted(set(commit_ids) - landings.pending), value=False)
    return before | {row["message_id"] for row in landings.rows}


@frozen
class Landings:
    """The rows of `landing` for some commits, and those of them that need other patch-ids."""

    rows: list[dict[str, Any]]
    pending: set[int]


def compute_landings(
    connection: Connection, commit_ids: list[int], candidates: Mapping[int, set[int]]
) -> Landings:
    """Return which patches commits were made from. `candidates`: by commit, as found for it."""
    rows: list[dict[str, Any]] = []
    pending: set[int] = set()
    for compared in read_compared(connection, commit_ids, candidates):
        match = match_commit(compared.commit, [patch.facts for patch in compared.patches])
        if needs_other_patch_ids(match):
            pending.add(compared.commit_id)
        if match is not None:
            numbers = {patch.facts.key: patch.message_id for patch in compared.patches}
            rows.append(
                {
                    "commit_id": compared.commit_id,
                    "list_id": compared.list_id,
                    "message_id": numbers[match.key],
                    "found_by": ",".join(match.found_by),
                }
            )
    return Landings(rows, pending)


@frozen
class Compared:
    """A commit, a list in whose repository it is, and the list's patches that may be it."""

    commit_id: int
    commit: CommitFacts
    list_id: str
    patches: list[LandingPatch]


def read_compared(
    connection: Connection, commit_ids: list[int], candidates: Mapping[int, set[int]]
) -> Iterator[Compared]:
    """Yield each commit for each of its lists, with the candidates of that list."""
    commits = read_facts(connection, commit_ids)
    lists_by_commit = _read_lists_of_commits(connection, commit_ids)
    patch_ids: set[int] = set()
    patch_ids.update(*(candidates.get(commit_id, ()) for commit_id in commit_ids))
    patches = read_patches(connection, patch_ids)
    lists_by_patch = read_list_names(connection, patch_ids)
    for commit_id, commit in commits.items():
        own = [patches[number] for number in candidates.get(commit_id, ()) if number in patches]
        for list_id in sorted(lists_by_commit.get(commit_id, ())):
            posted = [patch for patch in own if list_id in lists_by_patch.get(patch.message_id, ())]
            yield Compared(commit_id, commit, list_id, posted)


def _read_lists_of_commits(
    connection: Connection, commit_ids: Collection[int]
) -> dict[int, set[str]]:
    """Return the lists whose patches may have landed in each commit, by commit."""
    member, lists = schema.ref_commit.c, schema.repository_list.c
    by_commit: dict[int, set[str]] = defaultdict(set)
    for chunk in chunks(commit_ids):
        query = (
            select(member.commit_id, lists.list_id)
            .join(schema.repository_list, lists.repository_id == member.repository_id)
            .where(is_any(member.commit_id, chunk))
        )
        for row in connection.execute(query):
            by_commit[row.commit_id].add(row.list_id)
    return by_commit


def find_candidates(connection: Connection, commit_ids: Collection[int]) -> dict[int, set[int]]:
    """Return the patches that share a key with each commit, by commit."""
    own, other = schema.commit_key.c, schema.patch_key.c
    shared = exists(select(other.key).where(other.key == own.key))
    query = select(own.key).where(shared).distinct()
    keys = read_values(connection, query, own.commit_id, commit_ids)
    for table in (schema.commit_key, schema.patch_key):
        keys -= find_overfull_keys(connection, table, keys)
    patches_by_key: dict[int, set[int]] = defaultdict(set)
    candidates: dict[int, set[int]] = defaultdict(set)
    for chunk in chunks(keys):
        query = select(other.key, other.message_id).where(is_any(other.key, chunk))
        for row in connection.execute(query):
            patches_by_key[row.key].add(row.message_id)
    for chunk in chunks(commit_ids if keys else ()):
        query = select(own.commit_id, own.key).where(is_any(own.commit_id, chunk))
        for row in connection.execute(query):
            if row.key in keys:
                candidates[row.commit_id] |= patches_by_key[row.key]
    return candidates
