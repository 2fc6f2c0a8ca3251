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

# One row if anybody reads events. Events are written only while it exists.
following = Table(
    "following",
    metadata,
    Column("since", DateTime, primary_key=True),  # when the events begin
    # The next message that existed then and whose events are not written yet, null if none is left,
    # and the last one that existed.
    Column("next_id", BigInteger),
    Column("last_id", BigInteger),
)

# What has happened. The ids have no foreign keys: their rows may have been deleted by the time
# that the event is read. See store.activity.events.
event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("number", BigInteger, unique=True),  # its position; null until it is published
    Column("date", DateTime),  # when it was published
    Column("category", String(24), nullable=False),
    Column("subject", BigInteger),  # the row to which this happens only once; null if repeatable
    Column("message_id", BigInteger),  # the patch or cover
    Column("comment_id", BigInteger),
    Column("series_id", BigInteger),
    Column("check_id", BigInteger),
    Column("account_id", BigInteger),  # who caused it, null where mail did
    Column("previous", Text),  # the value before the change
    Column("current", Text),  # the value after it
    UniqueConstraint("category", "subject"),
    Index("ix_event_date", "date"),
    Index("ix_event_category", "category", "number"),
    Index("ix_event_message_id", "message_id", "number"),
    Index("ix_event_series_id", "series_id"),
)

partial_index(
    "ix_event_account_id",
    event.c.account_id,
    event.c.number,
    where=event.c.account_id.is_not(None),
)

# How far events have been delivered to each receiver of webhooks.
webhook = Table(
    "webhook",
    metadata,
    Column("url", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),  # of the last event delivered
    Column("failures", Integer, nullable=False),  # in a row, since the last success
    Column("due", DateTime, nullable=False),  # when the next delivery is tried
)
