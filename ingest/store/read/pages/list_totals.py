"""How long lists are: counted now and then, and not for each page.

A list of a few thousand rows is counted by an index for each page (`listing_pages.count_ids`). What
longer ones have is counted by the API's own thread, all at once, and used until the next time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from ingest.store import schema
from ingest.store.read.pages.listing_pages import MAX_COUNTED, count_ids
from ingest.store.read.pages.listing_ranges import ListingFilter
from ingest.store.schema.listing import ListingKind
from ingest.store.sql.planner_hints import IndexedBy

# Counting takes at most this part of the time, and happens no more often than this.
_SHARE = 1 / 300
_MIN_SECONDS = 60.0
_RETRY_SECONDS = 600.0


class _Group(NamedTuple):
    kind: int
    list_id: int
    state: str | None
    archived: bool


class ListTotals:
    """The numbers of rows by list and state, as they were a few minutes ago.

    One thread calls `refresh`, and others read: it replaces the numbers as a whole.
    """

    def __init__(self) -> None:
        self._groups: Counter[_Group] = Counter()
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether it is time to count again."""
        return time.monotonic() >= self._due

    def refresh(self, connection: Connection) -> None:
        """Count all lists. Writers do not wait for it."""
        begun = time.monotonic()
        self._due = begun + _RETRY_SECONDS  # should it fail, or take too long
        listing = schema.listing.c
        columns = (listing.kind, listing.list_id, listing.state, listing.archived)
        with_state = (
            select(*columns, func.count())
            .select_from(IndexedBy(schema.listing, "ix_listing_state_id"))
            .where(listing.state.is_not(None))
            .group_by(*columns)
        )
        covers = (
            select(listing.list_id, func.count())
            .select_from(IndexedBy(schema.listing, "ix_listing_id"))
            .where(listing.kind == int(ListingKind.COVER))
            .group_by(listing.list_id)
        )
        groups = Counter({_Group(*row[:4]): row[4] for row in connection.execute(with_state)})
        for list_id, count in connection.execute(covers):
            groups[_Group(ListingKind.COVER, list_id, None, archived=False)] = count
        self._groups = groups
        now = time.monotonic()
        self._due = now + max(_MIN_SECONDS, (now - begun) / _SHARE)

    def count(self, kind: ListingKind, filters: ListingFilter) -> int | None:
        """Return how many rows a list has, None where these numbers do not say it."""
        has_other = (filters.people, filters.delegates, filters.since, filters.before)
        if any(value is not None for value in has_other) or filters.selections:
            return None
        if not self._groups or len(filters.list_ids) != 1:
            return None  # what is on two lists would count twice
        return sum(count for group, count in self._groups.items() if _matches(group, kind, filters))


def _matches(group: _Group, kind: ListingKind, filters: ListingFilter) -> bool:
    states: Sequence[str | None] | None = filters.states
    return (
        group.kind == kind
        and group.list_id == filters.list_ids[0]
        and (states is None or group.state in states)
        and (filters.archived is None or group.archived == filters.archived)
    )


def count_list(
    connection: Connection, kind: ListingKind, filters: ListingFilter, totals: ListTotals
) -> int | None:
    """Return how many rows a list has, exactly if they are few; None where nothing says it."""
    total = totals.count(kind, filters)
    if total is not None and total > 2 * MAX_COUNTED:
        return total
    count = count_ids(connection, kind, filters)
    return total if count is None else count
