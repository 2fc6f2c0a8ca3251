"""Go through commits in batches of one transaction, and match them with patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, Engine

from ingest.store.activity.states import sync_states
from ingest.store.commits import facts
from ingest.store.commits.repositories import ScannedRef
from ingest.store.states import landing

# Commits of one transaction. Mail that is stored at the same time waits for it.
COMMIT_BATCH = 500


def split_commits(shas: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of as many commits as one transaction writes."""
    iterator = iter(shas)
    while batch := list(islice(iterator, COMMIT_BATCH)):
        yield batch


def sync_matches(connection: Connection, commit_ids: Iterable[int]) -> None:
    """Match commits, and update the states of patches."""
    sync_states(connection, landing.match_commits(connection, commit_ids))


def walk_ref(engine: Engine, ref: ScannedRef) -> Iterator[dict[int, str]]:
    """Yield the stored commits of a ref in batches: their hashes by id."""
    last = 0
    while True:
        with engine.connect() as connection:
            commits = facts.read_ref_commits(connection, ref.id, after=last, count=COMMIT_BATCH)
        if not commits:
            return
        yield commits
        last = max(commits)
