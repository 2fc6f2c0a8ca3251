"""Define the tables of events and of webhooks."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ingest.store.schema.base import Id, metadata, partial_index

# Whether somebody follows what happens: from the row's coming on, events are written.
following = Table(
    "following",
    metadata,
    Column("since", DateTime, primary_key=True),
)

# What has happened, for those who follow. `number` and `date` come when it is published, see
# store.activity.events; ids are those of rows that may be gone by then.
event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("number", BigInteger, unique=True),
    Column("date", DateTime),
    Column("category", String(24), nullable=False),
    Column("subject", BigInteger),  # the row that this happens to once; null where it may again
    Column("message_id", BigInteger),  # the patch or cover
    Column("comment_id", BigInteger),
    Column("series_id", BigInteger),
    Column("check_id", BigInteger),
    Column("account_id", BigInteger),  # who did it
    Column("previous", Text),
    Column("current", Text),
    UniqueConstraint("category", "subject"),
    Index("ix_event_date", "date"),
    Index("ix_event_category", "category", "number"),
    Index("ix_event_message_id", "message_id"),
    Index("ix_event_series_id", "series_id"),
)

partial_index(
    "ix_event_account_id",
    event.c.account_id,
    event.c.number,
    where=event.c.account_id.is_not(None),
)

# How far the receivers of webhooks have been told.
webhook = Table(
    "webhook",
    metadata,
    Column("url", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("due", DateTime, nullable=False),
)
