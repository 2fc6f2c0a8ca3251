"""Whether the store is consistent and the configuration sound.

What a store says twice must agree, what it refers to must be there, and what is arranged must
be what arranging what it holds gives. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from ingest.config.file import Config
from ingest.store.verify import consistency, snapshot
from ingest.store.verify.arrangement_audit import arrangement_findings
from ingest.store.verify.consistency import ConsistencyFault

# Unpacking and digesting takes a second for about 20,000 mails; a large store is read only
# where that is asked for.
RAW_BY_DEFAULT = 50_000


@dataclass(frozen=True, slots=True)
class CheckReport:
    """`faults`: sorted, without repetition. `notes`: what is worth knowing and no fault."""

    faults: tuple[ConsistencyFault, ...]
    notes: tuple[str, ...]
    counts: dict[str, int]

    @property
    def sound(self) -> bool:
        return not self.faults


def check_store(engine: Engine, config: Config, *, raw: bool | None = None) -> CheckReport:
    """Look at everything. `check_raw`: whether to read the bytes of all mail; None: where there is
    not too much of it. Raises `StoreError` where a damaged value keeps rows from being read.
    """
    with snapshot.open_snapshot(engine) as connection:
        faults = set(consistency.check_integrity(connection))
        snapshot.refuse_unreadable(connection)
        counts = consistency.count_rows(connection)
        notes = list(_notes(connection, config, counts))
        faults.update(_configuration(config))
        if raw is None:
            raw = counts["mails"] < RAW_BY_DEFAULT
            if not raw:
                notes.append(f"the bytes of {counts['mails']} mails were not read: --raw does it")
        if raw:
            faults.update(consistency.check_raw(connection))
        faults.update(_store(connection))
        return CheckReport(tuple(sorted(faults)), tuple(notes), counts)


def _store(connection: Connection) -> Iterator[ConsistencyFault]:
    yield from consistency.check_references(connection)
    yield from consistency.check_spool(connection)
    yield from consistency.check_copies(connection)
    yield from consistency.check_postings(connection)
    yield from consistency.check_authentication(connection)
    unreadable: set[int] = set()
    for fault, row_id in consistency.check_messages(connection):
        yield fault
        if row_id is not None:
            unreadable.add(row_id)
    series: set[int] = set()
    for one in arrangement_findings(
        connection, mended=dict.fromkeys(unreadable), sound_series=series
    ):
        yield ConsistencyFault("arrangement", one.name, f"{one.verdict} {one.what}")
    yield from consistency.check_needless_series(connection, series)


def _configuration(config: Config) -> Iterator[ConsistencyFault]:
    for list_id, count in Counter(one.list_id for one in config.lists).items():
        if count > 1:
            yield ConsistencyFault("configuration", list_id, f"{count} lists have this list_id")


def _notes(connection: Connection, config: Config, counts: dict[str, int]) -> Iterator[str]:
    if counts["waiting"]:
        yield f"{counts['waiting']} mails wait to be derived"
    there = consistency.read_list_ids(connection)
    wanted = {one.list_id for one in config.lists}
    for list_id in sorted(wanted - there):
        yield f"no mail has come through the list {list_id}, which is configured"
    for list_id in sorted(there - wanted if wanted else ()):
        yield f"mail came through the list {list_id}, which is not configured any more"
