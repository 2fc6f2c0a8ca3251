"""Find the newest series, for `ingest series`, which needs none of the filters of the API."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from ingest.store import schema
from ingest.store.read.pages.filters import Page
from ingest.store.read.pages.listing_pages import find_ids
from ingest.store.read.pages.listing_ranges import ListingFilter
from ingest.store.schema.listing import ALL_LISTS, INCOMPLETE, ListingKind


def find_newest_series(
    connection: Connection, *, list_ids: Collection[str] | None, incomplete: bool, limit: int
) -> list[int]:
    """Return the ids of at most `limit` series, the newest first.

    `list_ids` restricts them to series of these lists, unless it is None. `incomplete` restricts
    them to series of which patches are missing.
    """
    lists: Sequence[int] = (ALL_LISTS,)
    if list_ids is not None:
        list_ = schema.list_.c
        query = select(list_.id).where(list_.list_id.in_(list_ids))
        lists = connection.execute(query).scalars().all()
    listing_filter = ListingFilter(list_ids=lists, states=(INCOMPLETE,) if incomplete else None)
    page = Page(1, limit, "date", descending=True)
    return find_ids(connection, ListingKind.SERIES, listing_filter, page)[:limit]
