"""Keep the evidence that patches are superseded by later revisions.

Input: the series that a transaction has changed. Their links are written first
(`store.states.links`), and then the evidence for the patches of the series that these links lead
to. See docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from sqlalchemy import Connection

from ingest.lifecycle.evidence import Evidence
from ingest.lifecycle.revisions import MAX_DISTANCE, Revision, find_amended, find_later, replaces
from ingest.lifecycle.superseded import superseding_evidence
from ingest.store.locks import StateLock, lock_state_keys
from ingest.store.read.revisions import (
    read_amending,
    read_chosen,
    read_diffs,
    read_later,
)
from ingest.store.states.evidence_rows import REVISION_KINDS, replace_evidence
from ingest.store.states.links import RevisionCache, SeriesChanges, write_links


def write_revisions(connection: Connection, changes: SeriesChanges) -> set[int]:
    """Write the links and the evidence that follow from changed series.

    Returns the patches whose evidence has changed, for `sync_states`.
    """
    if not (changes.changed or changes.removed or changes.unplaced):
        return set()
    store = RevisionCache(connection, changes.changed, known=changes.revisions)
    relinked = write_links(store, changes)
    # Without links, before or now, nothing supersedes their patches, nor do they supersede any.
    affected = changes.changed | relinked if relinked is not None else set()
    return _write_evidence(store, affected, changes)


def _write_evidence(store: RevisionCache, series_ids: set[int], changes: SeriesChanges) -> set[int]:
    """Make the evidence that later revisions give for patches what it should be.

    `series_ids`: series that have changed, or whose links have. Returns the patches whose evidence
    has changed.
    """
    message_ids: set[int] = set()
    evidence: dict[int, list[Evidence]] = {}

    def find_evidence() -> set[int]:
        store.refresh()
        family = _Family(store)
        affected = family.find_affected(series_ids, changes.shrunk)
        evidence.clear()
        evidence.update(_find_evidence(store, family, affected))
        message_ids.clear()
        message_ids.update(changes.unplaced)
        for series_id in affected:
            if (item := store.get(series_id)) is not None:
                message_ids.update(item.message_ids.values())
        return affected

    if series_ids:
        lock_state_keys(store.connection, StateLock.EVIDENCE, series_ids, find_evidence)
    else:
        message_ids = changes.unplaced
    return replace_evidence(store.connection, REVISION_KINDS, message_ids, evidence)


def find_superseding_evidence(
    connection: Connection, series_ids: Iterable[int]
) -> dict[int, list[Evidence]]:
    """Return the evidence that later revisions supersede patches of these series, by patch."""
    store = RevisionCache(connection)
    return _find_evidence(store, _Family(store), set(series_ids))


def _find_evidence(
    store: RevisionCache, family: _Family, series_ids: set[int]
) -> dict[int, list[Evidence]]:
    # Most series have neither an earlier nor a later revision.
    linked = family.find_linked(series_ids)
    family.load_later(linked)
    evidence: dict[int, list[Evidence]] = {}
    for series_id in sorted(linked):
        item = store.get(series_id)
        later = find_later(family, series_id)
        if item is None or not later:
            continue
        message_ids = dict(item.message_ids)
        for later_id in later:
            if (other := store.get(later_id)) is not None:
                message_ids |= other.message_ids
        read = partial(_read_diffs_by_key, store.connection, message_ids)
        found = superseding_evidence(item.revision, list(later.values()), read)
        evidence |= {message_ids[key]: pieces for key, pieces in found.items()}
    return evidence


def _read_diffs_by_key(
    connection: Connection, message_ids: Mapping[str, int], keys: Iterable[str]
) -> dict[str, str | None]:
    """Return the diffs of messages by key. `message_ids`: their row ids, also by key."""
    key_of = {message_ids[key]: key for key in keys}
    diffs = read_diffs(connection, key_of)
    return {key_of[message_id]: diff for message_id, diff in diffs.items()}


class _Family:
    """The chosen links among the earlier and later revisions of series, read as they are needed."""

    def __init__(self, store: RevisionCache) -> None:
        self._store = store
        self._earlier: dict[int, int | None] = {}
        self._later: dict[int, set[int]] = {}

    def find_affected(self, series_ids: set[int], shrunk: set[int]) -> set[int]:
        """Return the series whose patches these series, or their links, supersede or release.

        `shrunk`: see `SeriesChanges`.
        """
        affected = set(series_ids)
        front = affected
        for _ in range(MAX_DISTANCE):
            if not front:
                break
            bases = front | self._find_earlier(front)
            # A series that replaces another one also replaces those that amend that.
            amending = bases
            for _ in range(MAX_DISTANCE):
                amending = read_amending(self._store.connection, amending, shrunk) - bases
                if not amending:
                    break
                bases = bases | amending
            front = bases - affected
            affected |= front
            self._store.load(front | self._find_earlier(front))
            front = {series_id for series_id in front if not self._is_final(series_id)}
        return affected

    def find_linked(self, series_ids: set[int]) -> set[int]:
        """Return those of the series that supersede another one or are superseded."""
        self._find_earlier(series_ids)
        self._read_later(series_ids)
        return {
            series_id
            for series_id in series_ids
            if self._later[series_id] or self._earlier[series_id] is not None
        }

    def load_later(self, series_ids: set[int]) -> None:
        """Read the later revisions of these series, and what these were linked to."""
        front = series_ids
        for _ in range(MAX_DISTANCE):
            self._store.load(front | self._find_earlier(front))
            amended = {find_amended(self, series_id) for series_id in front}
            front = front.union(one for one in amended if one is not None)
        self._read_later(front)
        found = {other_id for series_id in front for other_id in self._later[series_id]}
        self._store.load(front | found)

    def _find_earlier(self, series_ids: set[int]) -> set[int]:
        missing = series_ids - self._earlier.keys()
        if missing:
            self._earlier |= dict.fromkeys(missing) | read_chosen(self._store.connection, missing)
        earlier = (self._earlier[series_id] for series_id in series_ids)
        return {earlier_id for earlier_id in earlier if earlier_id is not None}

    def _read_later(self, series_ids: set[int]) -> None:
        missing = series_ids - self._later.keys()
        if missing:
            later = read_later(self._store.connection, missing)
            self._later |= {series_id: later.get(series_id, set()) for series_id in missing}

    def _is_final(self, series_id: int) -> bool:
        """Tell whether no revision after this one is needed for the patches of its predecessor."""
        item, earlier_id = self._store.get(series_id), self._earlier[series_id]
        if item is None or earlier_id is None:
            return True
        earlier = self._store.get(earlier_id)
        return earlier is None or (
            item.revision.is_complete and replaces(item.revision, earlier.revision).is_of_whole
        )

    def get(self, key: int) -> Revision | None:
        """Return a series, None where there is none."""
        item = self._store.get(key)
        return item.revision if item is not None else None

    def earlier_of(self, key: int) -> int | None:
        """Return the series that a series supersedes."""
        self._find_earlier({key})
        return self._earlier[key]

    def later_of(self, key: int) -> Collection[int]:
        """Return the series that supersede a series."""
        self._read_later({key})
        return self._later[key]
