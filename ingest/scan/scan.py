"""Scan configured repositories: store new commits, forget those that are gone, match patches.

Input: the store and the configuration. Output: `ScanResult`s. A scan reads what was added to each
ref since the last one. It can be interrupted at any time: what is stored is right, and the next
scan continues. The order of scans and mail has no effect on the result.

Each commit belongs to the first ref, in the order of the configuration, that contains it. A ref
that moved has gained the commits that are reachable from its new tip but not from its old one, and
lost those for which it is the reverse. Commits are gained before others are lost, so that a patch
whose commit was rebased keeps its state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.scan.maintainers import scan_maintainers
from ingest.scan.registration import (
    Configured,
    group_repositories,
    read_configured,
    register_configured,
)
from ingest.scan.repository_scan import RepositoryScan, ScanResult
from ingest.sources.source import SourceError
from ingest.store.commits import repositories
from ingest.store.commits.scan_lock import scan_lock
from ingest.store.database.transactions import write_transaction
from ingest.store.states import landing

__all__ = ["ScanResult", "scan_repositories"]


def scan_repositories(
    engine: Engine,
    config: Config,
    *,
    list_ids: Collection[str] | None = None,
    report: Callable[[ScanResult], None] = lambda _: None,
) -> list[ScanResult]:
    """Scan the repositories of these lists, or of all lists, and return the result of each.

    With all lists, repositories that are no longer configured are forgotten. `report` is called
    with what was done so far. A repository that cannot be read does not keep others from being
    scanned, and the states that it has shown remain. The MAINTAINERS files of the lists are read
    too, before the commits.
    """
    configured = group_repositories(config)
    with scan_lock(engine):
        errors = scan_maintainers(engine, config, list_ids=list_ids)
        register_configured(engine, configured)
        results = []
        for repository in read_configured(engine, configured):
            lists = configured[repository.path, repository.refs]
            if list_ids is not None and lists.isdisjoint(list_ids):
                continue
            scan = RepositoryScan(engine, repository, report)
            try:
                results.append(scan.run())
            except SourceError as error:
                results.append(ScanResult(repository.path, scan.new, scan.gone, str(error)))
        if list_ids is None:
            results += _forget_others(engine, configured, report)
    return _add_errors(results, errors)


def _add_errors(results: list[ScanResult], errors: Mapping[str, str]) -> list[ScanResult]:
    """Return the results with the errors of MAINTAINERS files, by path, where there is none yet."""
    combined = [
        replace(result, error=result.error or errors.get(result.path)) for result in results
    ]
    paths = {result.path for result in results}
    others = sorted(errors.keys() - paths)
    return combined + [ScanResult(path, error=errors[path]) for path in others]


def _forget_others(
    engine: Engine, configured: Configured, report: Callable[[ScanResult], None]
) -> list[ScanResult]:
    """Forget the repositories that are not configured."""
    with engine.connect() as connection:
        stored = repositories.read_repositories(connection)
    results = []
    for repository in stored:
        if (repository.path, repository.refs) in configured:
            continue
        scan = RepositoryScan(engine, repository, report)
        results.append(scan.forget())
    if results and not configured:
        with write_transaction(engine) as connection:
            if not repositories.has_repositories(connection):
                landing.delete_patch_keys(connection)
                repositories.set_has_patch_keys(connection, value=False)
    return results
