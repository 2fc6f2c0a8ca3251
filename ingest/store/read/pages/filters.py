"""Filters and pages of lists: what a list may hold, in which order, and how much of it.

The API parses a request into these values, and `store.read.pages.page_queries` and
`store.read.pages.event_rows` turn them into SQL. Every field that is None means "no condition".
"""

from __future__ import annotations

from datetime import datetime

from ingest.frozen import frozen


@frozen
class Page:
    """One page of a list, ordered by `field`.

    `number` counts from 1. `size` is the number of rows.
    """

    number: int
    size: int
    field: str
    descending: bool

    @property
    def start(self) -> int:
        """Return the number of rows before this page."""
        return (self.number - 1) * self.size


@frozen
class SearchText:
    """What is searched for: all of it must be found.

    `name`: a part of the name. `files`: parts of names of files; `patch_ids`: patch-ids, or their
    first digits. A series or cover is found by those of its patches.
    """

    name: str | None = None
    files: tuple[str, ...] = ()
    patch_ids: tuple[str, ...] = ()


@frozen
class RowSelector:
    """Rows of people or accounts, some selected by number, the others by name or address."""

    ids: tuple[int, ...]
    names: tuple[str, ...]


@frozen(kw_only=True)
class DateFilter:
    """Rows dated from `since` on, and before `before`. Both are naive UTC."""

    since: datetime | None = None
    before: datetime | None = None


@frozen(kw_only=True)
class MessageFilter(DateFilter):
    """Conditions that patches and covers share.

    `list_ids` are row numbers of lists; `msgids` have angle brackets.
    """

    list_ids: tuple[int, ...] | None = None
    series_ids: tuple[int, ...] | None = None
    submitters: RowSelector | None = None
    msgids: tuple[str, ...] | None = None
    text: SearchText = SearchText()


@frozen(kw_only=True)
class PatchFilter(MessageFilter):
    """Conditions on patches. `states` are slugs, as they are stored.

    `is_unassigned`: they have no delegate.
    """

    states: tuple[str, ...] | None = None
    archived: bool | None = None
    hashes: tuple[str, ...] | None = None
    delegates: RowSelector | None = None
    is_unassigned: bool = False


@frozen
class MetadataFilter:
    """Series with a text under a key; None is any key, or any text."""

    key: str | None
    value: str | None


@frozen(kw_only=True)
class SeriesFilter(DateFilter):
    """Conditions on series."""

    list_ids: tuple[int, ...] | None = None
    submitters: RowSelector | None = None
    text: SearchText = SearchText()
    metadata: MetadataFilter | None = None


@frozen(kw_only=True)
class CheckFilter(DateFilter):
    """Conditions on the checks of one patch."""

    accounts: RowSelector | None = None
    states: tuple[str, ...] | None = None
    contexts: tuple[str, ...] | None = None


@frozen(kw_only=True)
class EventFilter(DateFilter):
    """Conditions on events. `actors` are the accounts that caused them."""

    list_ids: tuple[int, ...] | None = None
    categories: tuple[str, ...] | None = None
    series_ids: tuple[int, ...] | None = None
    patch_ids: tuple[int, ...] | None = None
    cover_ids: tuple[int, ...] | None = None
    actors: RowSelector | None = None
