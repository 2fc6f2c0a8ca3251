"""Define the tables of what people and programs set through the API, and of redirects."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    false,
)

from ingest.store.schema.base import Id, metadata, name_order, partial_index

# Who may write through the API, by token. After a token is removed, what was set with it remains.
account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("digest", LargeBinary(32)),  # SHA-256 of the token, null after it was removed
    Column("lists", Text, nullable=False),  # list ids that it maintains, comma-joined
    Column("all_lists", Boolean, nullable=False),  # it may write to all lists, and maintains them
    Column("is_superuser", Boolean, nullable=False),  # it may write to all
    Column("is_active", Boolean, nullable=False),
    Column("settings", Text, nullable=False),  # of its owner: JSON object
    Column("made", DateTime, nullable=False),  # when its token was created
)

Index("ix_account_name", name_order(account.c.name), account.c.id)

partial_index(
    "ix_account_digest",
    account.c.digest,
    where=account.c.digest.is_not(None),
)

# What was set on a patch through the API; null columns were not set.
override = Table(
    "override",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("state", Text),
    Column("state_date", DateTime),  # when the state was set
    Column("state_account_id", Id, ForeignKey("account.id")),  # who set it
    Column("archived", Boolean),
    Column("commit_ref", Text),
    Column("delegate_id", Id, ForeignKey("account.id")),  # the maintainer it is assigned to
    Column("no_delegate", Boolean, nullable=False, server_default=false()),  # it was cleared
)

# Patches that people have marked as the same change: they share a number.
relation = Table(
    "relation",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Index("ix_relation_number", "number"),
)

# The result of a test of a patch, as a CI system reported it.
check = Table(
    "check",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("account_id", Id, ForeignKey("account.id"), nullable=False),  # who reported it
    Column("date", DateTime, nullable=False),  # when it was reported
    Column("state", String(8), nullable=False),
    Column("context", Text, nullable=False),  # the name of the test
    Column("target_url", Text),
    Column("description", Text),
    CheckConstraint("state IN ('pending', 'success', 'warning', 'fail')", name="state"),
    Index("ix_check_message_id", "message_id"),
)

# Numbers that clients may hold and that no row has any more. See store.write.redirects.
redirect = Table(
    "redirect",
    metadata,
    Column("kind", String(8), nullable=False),  # 'series', 'message' or 'person'
    Column("id", BigInteger, nullable=False),  # the number
    Column("key", Text, nullable=False),  # the row's key; a new row with it takes the number back
    Column("to_id", BigInteger),  # the row that took its place, null where there is none
    PrimaryKeyConstraint("kind", "id"),
    Index("ix_redirect_key", "kind", "key"),
    Index("ix_redirect_to_id", "kind", "to_id"),
)
