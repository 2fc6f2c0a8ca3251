"""Check whether the store is consistent and the configuration valid.

What the store records twice must agree, what it refers to must exist, and what is arranged must be
the result of arranging the stored messages. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from ingest.config.settings import Config
from ingest.store.batches import IdSet
from ingest.store.listing import find_differences
from ingest.store.read.directory import read_list_ids
from ingest.store.verify import consistency, snapshot
from ingest.store.verify.arrangement_audit import audit_arrangement
from ingest.store.verify.consistency import ConsistencyFault
from ingest.store.verify.states_audit import audit_states

# Decompressing and digesting 20,000 mails takes about a second; the bytes of a larger store are
# read only on request.
RAW_BY_DEFAULT = 50_000


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check.

    `faults` are sorted and without repetition. `notes` are facts worth knowing that are not faults.
    """

    faults: tuple[ConsistencyFault, ...]
    notes: tuple[str, ...]
    counts: dict[str, int]

    @property
    def is_consistent(self) -> bool:
        """Return whether there are no faults."""
        return not self.faults


def check_store(engine: Engine, config: Config, *, raw: bool | None = None) -> CheckReport:
    """Check the whole store and the configuration.

    One read transaction spans the whole check: `open_snapshot` begins it. `raw` selects whether to
    read the bytes of all mail; None reads them if there are fewer than `RAW_BY_DEFAULT` mails.
    Raises `StoreError` if a damaged value prevents rows from being read.
    """
    with snapshot.open_snapshot(engine) as connection:
        faults = set(consistency.check_integrity(connection))
        snapshot.refuse_invalid_times(connection)
        counts = consistency.count_rows(connection)
        notes = list(_notes(connection, config, counts))
        faults.update(_check_configuration(config))
        if raw is None:
            raw = counts["mails"] < RAW_BY_DEFAULT
            if not raw:
                notes.append(f"the bytes of {counts['mails']} mails were not read: --raw does it")
        if raw:
            faults.update(consistency.check_raw(connection))
        faults.update(_check_rows(connection))
        if not faults:  # of rows from which states follow
            faults.update(
                ConsistencyFault("state", finding.name, f"{finding.kind} {finding.detail}")
                for finding in audit_states(connection)
            )
        if not faults:  # of rows that lists repeat
            faults.update(
                ConsistencyFault(
                    "listing", f"{kind.name.lower()} {row_id}", "rows of listing differ"
                )
                for kind, row_id in find_differences(connection)
            )
        return CheckReport(tuple(sorted(faults)), tuple(notes), counts)


def _check_rows(connection: Connection) -> Iterator[ConsistencyFault]:
    yield from consistency.check_references(connection)
    yield from consistency.check_spool(connection)
    yield from consistency.check_copies(connection)
    yield from consistency.check_postings(connection)
    yield from consistency.check_authentication(connection)
    unreadable: set[int] = set()
    for fault, message_id in consistency.check_messages(connection):
        yield fault
        if message_id is not None:
            unreadable.add(message_id)
    expected_series = IdSet()
    for finding in audit_arrangement(
        connection, repaired=dict.fromkeys(unreadable), expected_series=expected_series
    ):
        yield ConsistencyFault("arrangement", finding.name, f"{finding.kind} {finding.detail}")
    yield from consistency.check_needless_series(connection, expected_series)


def _check_configuration(config: Config) -> Iterator[ConsistencyFault]:
    for list_id, count in Counter(entry.list_id for entry in config.lists).items():
        if count > 1:
            yield ConsistencyFault("configuration", list_id, f"{count} lists have this list_id")


def _notes(connection: Connection, config: Config, counts: dict[str, int]) -> Iterator[str]:
    if counts["waiting"]:
        verb = "mail waits" if counts["waiting"] == 1 else "mails wait"
        yield f"{counts['waiting']} {verb} to be derived"
    stored = read_list_ids(connection)
    configured = {entry.list_id for entry in config.lists}
    for list_id in sorted(configured - stored):
        yield f"no mail has arrived through the list {list_id}, which is configured"
    for list_id in sorted(stored - configured if configured else ()):
        yield f"mail arrived through the list {list_id}, which is no longer configured"
