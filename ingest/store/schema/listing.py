"""Define the table from which lists of patches, covers and series are read: the read model.

It repeats what other tables have, in one place, so that each filter has an index that has the order
of the list too. See store.listing.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from ingest.store.schema.base import SearchedTime, metadata, partial_index


class ListingKind(IntEnum):
    """What a row of `listing` is of."""

    PATCH = 1
    COVER = 2
    SERIES = 3


# The states of series.
RECEIVED = "received"
INCOMPLETE = "incomplete"

# The list of the rows for lists that are not limited to mailing lists.
ALL_LISTS = 0

# The project of a patch that was sent to no list: it is before all others.
NO_LIST = 0

# The date of what has none: it is before all others, in both databases.
NO_DATE = datetime.min

# A patch, cover or series: once for each mailing list that it was sent to, and once for all.
# Without foreign keys: the rows are written by the transactions that write those they repeat.
listing = Table(
    "listing",
    metadata,
    Column("kind", SmallInteger, nullable=False),  # a ListingKind
    Column("id", BigInteger, nullable=False),  # of the message or series
    Column("list_id", BigInteger, nullable=False),  # ALL_LISTS, or the mailing list
    Column("date", SearchedTime, nullable=False),
    Column("person_id", BigInteger, nullable=False),  # the submitter
    # Of a patch the state that is shown; of a series RECEIVED or INCOMPLETE.
    Column("state", Text),
    Column("archived", Boolean, nullable=False),
    Column("delegate_id", BigInteger),
    # Of the row of a patch for all lists: the list that is its project, or NO_LIST.
    Column("project_id", BigInteger),
    PrimaryKeyConstraint("kind", "id", "list_id"),
    Index("ix_listing_id", "kind", "list_id", "id"),
    Index("ix_listing_date", "kind", "list_id", "date", "id"),
    Index("ix_listing_person", "kind", "list_id", "person_id", "date", "id"),
    sqlite_with_rowid=False,
)

partial_index(
    "ix_listing_state_id",
    listing.c.kind,
    listing.c.list_id,
    listing.c.state,
    listing.c.archived,
    listing.c.id,
    where=listing.c.state.is_not(None),
)

partial_index(
    "ix_listing_state_date",
    listing.c.kind,
    listing.c.list_id,
    listing.c.state,
    listing.c.archived,
    listing.c.date,
    listing.c.id,
    where=listing.c.state.is_not(None),
)

partial_index(
    "ix_listing_delegate",
    listing.c.kind,
    listing.c.list_id,
    listing.c.delegate_id,
    listing.c.date,
    listing.c.id,
    where=listing.c.delegate_id.is_not(None),
)

partial_index(
    "ix_listing_project",
    listing.c.kind,
    listing.c.project_id,
    listing.c.id,
    where=listing.c.project_id.is_not(None),
)

# How far the names of a table have been added to the index for parts of names, which exists where
# the API has started. See store.read.pages.text_search.
search_progress = Table(
    "search_progress",
    metadata,
    Column("name", Text, primary_key=True),  # of the table
    Column("next_id", BigInteger),  # the next one to be added, null where all are
)
