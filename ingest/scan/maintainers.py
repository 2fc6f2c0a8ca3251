"""Read the configured MAINTAINERS files, and assign patches by what has changed in them.

Input: the store and the configuration. Output: what went wrong, by list. A file that cannot be read
leaves the one that was read before. Can be interrupted at any time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Engine

from ingest.config.settings import Config, ConfiguredMaintainersFile
from ingest.lifecycle.delegation import (
    MAX_MAINTAINERS_FILE,
    MaintainersError,
    dump_sections,
    parse_maintainers,
)
from ingest.sources import git_commits
from ingest.sources.source import SourceError, printable
from ingest.store import schema
from ingest.store.activity.states import sync_states
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.locks import lock_states
from ingest.store.states import maintainers

_BATCH = 500  # patches of one transaction


def scan_maintainers(
    engine: Engine, config: Config, *, list_ids: Collection[str] | None = None
) -> dict[str, str]:
    """Read the files of these lists, or of all, and assign the patches of lists that changed.

    Returns why a file could not be read, one line, by the path of the file or repository. The
    caller holds the lock of scans.
    """
    errors: dict[str, str] = {}
    wanted: dict[str, str] = {}
    unreadable: set[str] = set()
    with engine.connect() as connection:
        stored = maintainers.read_digests(connection)
        unassigned = maintainers.read_unassigned_lists(connection)
    for configured in config.lists:
        file = configured.maintainers_file
        if file is None:
            continue
        try:
            wanted[configured.list_id] = _read_sections(file)
        except SourceError as error:
            unreadable.add(configured.list_id)
            errors[str(file.repository or file.path)] = str(error)
    for list_id in sorted(stored.keys() | wanted.keys()):
        if list_ids is not None and list_id not in list_ids:
            continue
        sections = wanted.get(list_id, "")
        is_same = maintainers.compute_digest(sections) == stored.get(list_id, "")
        if not is_same and list_id not in unreadable:
            with write_transaction(engine) as connection:
                maintainers.write_file(connection, list_id, sections)
        elif list_id not in unassigned:
            continue
        _assign_all(engine, list_id)
    return errors


def _read_sections(file: ConfiguredMaintainersFile) -> str:
    """Return the sections of a file as they are stored. Raises `SourceError`."""
    if file.repository is None:
        name = printable(file.path)
        content = _read_path(Path(file.path))
    else:
        name = f"{printable(file.repository)}: {printable(file.path)} in {printable(file.ref)}"
        directory = git_commits.open_repository(file.repository)
        content = git_commits.read_ref_file(
            directory, file.ref, file.path, limit=MAX_MAINTAINERS_FILE
        )
    try:
        sections = parse_maintainers(content.decode("utf-8", "replace"))
    except MaintainersError as error:
        raise SourceError(f"{name}: is no MAINTAINERS file: {error}") from None
    return schema.storable(dump_sections(sections))


def _read_path(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise SourceError(f"{printable(path)}: is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_MAINTAINERS_FILE + 1)
    except OSError as error:
        raise SourceError(f"{printable(path)}: {error.strerror}") from None
    if len(content) > MAX_MAINTAINERS_FILE:
        raise SourceError(f"{printable(path)}: has more than {MAX_MAINTAINERS_FILE} bytes")
    return content


def _assign_all(engine: Engine, list_id: str) -> None:
    """Give all patches of a list the maintainers of its file."""
    last = 0
    while True:
        with engine.connect() as connection:
            ids = maintainers.find_next_patches(connection, list_id, after=last, count=_BATCH)
        if not ids:
            break
        with unflushed_transaction(engine) as connection:
            lock_states(connection)
            sync_states(connection, maintainers.assign_maintainers(connection, ids))
        last = ids[-1]
    with write_transaction(engine) as connection:
        maintainers.finish_file(connection, list_id)
