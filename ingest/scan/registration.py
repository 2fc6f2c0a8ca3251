"""Store which repositories are configured, and for which lists each of them is."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.scan import commit_batches
from ingest.scan.commit_batches import sync_matches, walk_ref
from ingest.store.commits import repositories
from ingest.store.commits.repositories import Refs, Repository
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.locks import lock_states
from ingest.store.states import landing

Configured = Mapping[tuple[str, Refs], set[str]]


def group_repositories(config: Config) -> dict[tuple[str, Refs], set[str]]:
    """Return the ids of the lists of each repository. Equal repositories are scanned once."""
    lists: dict[tuple[str, Refs], set[str]] = {}
    for configured in config.lists:
        for repository in configured.repositories:
            refs = tuple((ref.pattern, ref.state) for ref in repository.refs)
            lists.setdefault((str(repository.path), refs), set()).add(configured.list_id)
    return lists


def register_configured(engine: Engine, configured: Configured) -> None:
    """Store which repositories are configured, and give all patches their keys."""
    with engine.connect() as connection:
        stored = {
            (repository.path, repository.refs): repositories.read_repository_lists(
                connection, repository.id
            )
            for repository in repositories.read_repositories(connection)
        }
        is_current = all(stored.get(key) == lists for key, lists in configured.items())
        if is_current and (not configured or repositories.has_patch_keys(connection)):
            return
    with write_transaction(engine) as connection:
        repositories.register_repositories(connection, configured)
    _fill_patch_keys(engine)
    for key, lists in configured.items():
        if stored.get(key) != lists:
            _change_lists(engine, key, lists)


def _fill_patch_keys(engine: Engine) -> None:
    with engine.connect() as connection:
        if repositories.has_patch_keys(connection):
            return
    last: int | None = 0
    while last is not None:
        with unflushed_transaction(engine) as connection:
            lock_states(connection)
            last = landing.fill_patch_keys(
                connection, after=last, count=commit_batches.COMMIT_BATCH * 4
            )
    with write_transaction(engine) as connection:
        repositories.set_has_patch_keys(connection, value=True)


def _change_lists(engine: Engine, key: tuple[str, Refs], lists: set[str]) -> None:
    """Store for which lists a repository is, and match its commits again."""
    with write_transaction(engine) as connection:
        lock_states(connection)
        (repository,) = [
            item
            for item in repositories.read_repositories(connection)
            if (item.path, item.refs) == key
        ]
        repositories.write_lists(connection, repository.id, lists)
        refs = repositories.read_refs(connection, repository.id)
    for ref in refs:
        for commits in walk_ref(engine, ref):
            with unflushed_transaction(engine) as connection:
                lock_states(connection)
                sync_matches(connection, commits)


def read_configured(engine: Engine, configured: Configured) -> list[Repository]:
    """Return the stored repositories that are configured, in the order of the configuration."""
    with engine.connect() as connection:
        stored = repositories.read_repositories(connection)
    by_key = {(repository.path, repository.refs): repository for repository in stored}
    return [by_key[key] for key in configured]
