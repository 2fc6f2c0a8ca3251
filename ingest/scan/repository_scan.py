"""Scan one repository: store what its refs have gained, and move or forget what they have lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Connection, Engine

from ingest.frozen import frozen
from ingest.lifecycle.commit import CommitFacts
from ingest.scan.commit_batches import split_commits, sync_matches, walk_ref
from ingest.scan.other_patch_ids import fill_other_patch_ids
from ingest.sources import git_commits
from ingest.store.commits import facts, repositories
from ingest.store.commits.repositories import Repository, ScannedRef
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.locks import lock_states

_THREADS = 2  # each with two processes of git
_AHEAD = 4  # batches that are read before they are stored


@frozen
class ScanResult:
    """The result for one repository. `error`: why it could not be scanned, one line, or None."""

    path: str
    new: int = 0
    gone: int = 0
    error: str | None = None


class RepositoryScan:
    """The scan of one repository. `new` and `gone` count commits."""

    def __init__(
        self, engine: Engine, repository: Repository, report: Callable[[ScanResult], None]
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._report = report
        self.new = 0
        self.gone = 0

    @property
    def result(self) -> ScanResult:
        """Return what was done so far."""
        return ScanResult(self._repository.path, self.new, self.gone)

    def run(self) -> ScanResult:
        """Scan all refs that have moved. Raises `SourceError`."""
        self._directory = git_commits.open_repository(Path(self._repository.path))
        patterns = [pattern for pattern, _ in self._repository.refs]
        tips = git_commits.list_refs(self._directory, patterns)
        if self._read_tips() != tips:
            self._scan(tips)
        fill_other_patch_ids(self._engine, self._repository.id, self._directory)
        return self.result

    def forget(self) -> ScanResult:
        """Forget all commits of the repository, and the repository."""
        for ref in self._read_refs():
            for commits in walk_ref(self._engine, ref):
                self._write_lost(dict.fromkeys(commits))
        with write_transaction(self._engine) as connection:
            repositories.finish_refs(connection, self._repository.id, {})
            repositories.delete_repository(connection, self._repository.id)
        return self.result

    def _read_refs(self) -> list[ScannedRef]:
        with self._engine.connect() as connection:
            return repositories.read_refs(connection, self._repository.id)

    def _read_tips(self) -> dict[str, str | None]:
        """Return the tips of the refs, without those whose scan was interrupted."""
        return {
            ref.name: ref.tip if ref.targets == (ref.tip,) else None for ref in self._read_refs()
        }

    def _scan(self, tips: Mapping[str, str]) -> None:
        before = {ref.name: ref for ref in self._read_refs()}
        with write_transaction(self._engine) as connection:
            repositories.add_targets(connection, self._repository.id, list(self._targets(tips)))
        refs = self._read_refs()
        old_tips = {ref.name: before[ref.name].old_tips for ref in refs if ref.name in before}
        all_old = {tip for ref_tips in old_tips.values() for tip in ref_tips}
        existing = git_commits.find_existing(self._directory, all_old)
        known = {
            ref.name: ref.tip
            for ref in before.values()
            if ref.tip is not None and self._has_kept(ref, existing)
        }
        self._gain_commits(refs, tips, known)
        self._lose_commits(refs, tips, old_tips, existing)
        with write_transaction(self._engine) as connection:
            repositories.finish_refs(connection, self._repository.id, tips)

    def _targets(self, tips: Mapping[str, str]) -> Iterator[dict[str, object]]:
        for name, tip in tips.items():
            rank, state = next(
                (number, state)
                for number, (pattern, state) in enumerate(self._repository.refs)
                if git_commits.matches(name, pattern)
            )
            yield {"name": name, "rank": rank, "state": state, "target": tip}

    def _has_kept(self, ref: ScannedRef, existing: Collection[str]) -> bool:
        """Tell whether all commits of the old tip are stored as those of this or an earlier ref.

        A scan that was interrupted may have removed those that its target did not have.
        """
        if ref.tip is None or ref.tip not in existing:
            return False
        targets = [target for target in ref.targets if target != ref.tip]
        return all(
            target in existing
            and not any(git_commits.list_commits(self._directory, [ref.tip], [target]))
            for target in targets
        )

    # --- gained ---

    def _gain_commits(
        self, refs: Sequence[ScannedRef], tips: Mapping[str, str], known: Mapping[str, str]
    ) -> None:
        """Store the commits that refs have gained since the tips that are `known`, by name."""
        order = {ref.id: number for number, ref in enumerate(refs)}
        excluded: list[str] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for ref in refs:
                tip = tips.get(ref.name)
                if tip is None:
                    continue
                old = known.get(ref.name)
                if old != tip:
                    without = [*excluded, *([old] if old is not None else [])]
                    commits = git_commits.list_commits(self._directory, [tip], without)
                    for batch in self._read_ahead(pool, commits):
                        self._write_gained(ref, batch, order)
                excluded.append(tip)

    def _read_ahead(self, pool: ThreadPoolExecutor, shas: Iterable[str]) -> Iterator[_Batch]:
        """Read the facts of commits that are not stored in several threads, in order."""
        waiting: deque[tuple[list[str], Future[list[CommitFacts]]]] = deque()
        try:
            for batch in split_commits(shas):
                with self._engine.connect() as connection:
                    stored = facts.find_commits(connection, batch)
                unknown = [sha for sha in batch if sha not in stored]
                future = pool.submit(git_commits.read_commits, self._directory, unknown)
                waiting.append((batch, future))
                if len(waiting) >= _AHEAD:
                    shas_read, done = waiting.popleft()
                    yield _Batch(shas_read, done.result())
            while waiting:
                shas_read, done = waiting.popleft()
                yield _Batch(shas_read, done.result())
        finally:
            for _, future in waiting:
                future.cancel()

    def _write_gained(self, ref: ScannedRef, batch: _Batch, order: Mapping[int, int]) -> None:
        """Store a batch of commits as those of a ref, unless an earlier ref contains them."""
        with unflushed_transaction(self._engine) as connection:
            lock_states(connection)
            numbers = facts.find_commits(connection, batch.shas)
            new = [commit for commit in batch.commits if commit.id not in numbers]
            numbers |= facts.insert_commits(connection, new)
            current = facts.read_commit_memberships(
                connection, self._repository.id, numbers.values()
            )
            wanted: dict[int, int | None] = {
                number: ref.id
                for number in numbers.values()
                if number not in current or order[current[number]] > order[ref.id]
            }
            self._write_memberships(connection, wanted)
        self.new += len(new)
        self._report(self.result)

    def _write_memberships(self, connection: Connection, wanted: Mapping[int, int | None]) -> None:
        changed = facts.write_memberships(connection, self._repository.id, wanted)
        sync_matches(connection, changed)

    # --- lost ---

    def _lose_commits(
        self,
        refs: Sequence[ScannedRef],
        tips: Mapping[str, str],
        old_tips: Mapping[str, Collection[str]],
        existing: Collection[str],
    ) -> None:
        """Give the commits that refs have lost to the next refs that contain them."""
        for number, ref in enumerate(refs):
            tip = tips.get(ref.name)
            old = [old_tip for old_tip in old_tips.get(ref.name, ()) if old_tip != tip]
            if not old:
                continue
            others = [later for later in refs[number + 1 :] if later.name in tips]
            kept = [tip] if tip is not None else []
            for shas in self._list_lost(ref, old, kept, existing):
                self._move_commits(ref, shas, others, tips)

    def _list_lost(
        self, ref: ScannedRef, old: Collection[str], kept: Sequence[str], existing: Collection[str]
    ) -> Iterator[list[str]]:
        """Yield the commits that a ref has lost, in batches.

        Where the repository does not have the old tip any more, all stored commits are looked at.
        """
        if all(tip in existing for tip in old):
            lost = git_commits.list_commits(self._directory, list(old), kept)
            yield from split_commits(lost)
            return
        for commits in walk_ref(self._engine, ref):
            shas = list(commits.values())
            yield self._subtract(shas, kept)

    def _subtract(self, shas: Sequence[str], tips: Sequence[str]) -> list[str]:
        """Return those of the commits that are not reachable from these tips."""
        present = git_commits.find_existing(self._directory, shas)
        included = [sha for sha in shas if sha in present]
        outside = set(shas) - present
        wanted = set(included)
        for sha in git_commits.list_commits(self._directory, included, tips):
            if sha in wanted:
                outside.add(sha)
        return [sha for sha in shas if sha in outside]

    def _move_commits(
        self,
        ref: ScannedRef,
        shas: Sequence[str],
        others: Sequence[ScannedRef],
        tips: Mapping[str, str],
    ) -> None:
        """Give lost commits of a ref to the first of the other refs that contains each."""
        with self._engine.connect() as connection:
            numbers = facts.find_commits(connection, shas)
            current = facts.read_commit_memberships(
                connection, self._repository.id, numbers.values()
            )
        own = {sha: number for sha, number in numbers.items() if current.get(number) == ref.id}
        wanted: dict[int, int | None] = {}
        remaining = list(own)
        nowhere = self._subtract(remaining, [tips[other.name] for other in others])
        wanted |= dict.fromkeys((own[sha] for sha in nowhere), None)
        remaining = [sha for sha in remaining if own[sha] not in wanted]
        for other in others:
            if not remaining:
                break
            outside = set(self._subtract(remaining, [tips[other.name]]))
            wanted |= {own[sha]: other.id for sha in remaining if sha not in outside}
            remaining = [sha for sha in remaining if sha in outside]
        self._write_lost(wanted)

    def _write_lost(self, wanted: Mapping[int, int | None]) -> None:
        if not wanted:
            return
        with unflushed_transaction(self._engine) as connection:
            lock_states(connection)
            self._write_memberships(connection, wanted)
            gone = facts.find_unreferenced(connection, wanted)
            sync_matches(connection, facts.delete_commits(connection, gone))
        self.gone += len(gone)
        self._report(self.result)


@frozen
class _Batch:
    """Commits in the order of the history, and the facts of those that were not stored."""

    shas: Sequence[str]
    commits: Sequence[CommitFacts]
