"""Compute the patch-ids that other diff algorithms give commits, where no patch was found."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Engine

from ingest.scan import commit_batches
from ingest.scan.commit_batches import sync_matches
from ingest.sources import git_commits
from ingest.store.commits import facts
from ingest.store.database.transactions import unflushed_transaction
from ingest.store.locks import lock_states

_THREADS = 2  # each with two processes of git
_AHEAD = 4  # batches that are computed before they are stored


def fill_other_patch_ids(engine: Engine, repository_id: int, directory: Path) -> None:
    """Compute the patch-ids by other algorithms for commits that were not found otherwise.

    `directory`: of the repository with this id.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[dict[str, tuple[str, ...]]]] = deque()
        for shas in _list_pending(engine, repository_id):
            waiting.append(pool.submit(git_commits.compute_other_patch_ids, directory, shas))
            if len(waiting) >= _AHEAD:
                _write_patch_ids(engine, waiting.popleft().result())
        while waiting:
            _write_patch_ids(engine, waiting.popleft().result())


def _list_pending(engine: Engine, repository_id: int) -> Iterator[list[str]]:
    last = 0
    while True:
        with engine.connect() as connection:
            rows = facts.read_pending(
                connection, repository_id, after=last, count=commit_batches.COMMIT_BATCH
            )
        if not rows:
            return
        yield [row.sha for row in rows]
        last = rows[-1].id


def _write_patch_ids(engine: Engine, patch_ids: Mapping[str, tuple[str, ...]]) -> None:
    with unflushed_transaction(engine) as connection:
        lock_states(connection)
        sync_matches(connection, facts.write_other_patch_ids(connection, patch_ids))
