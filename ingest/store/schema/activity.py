"""Define the tables of what people and programs set through the API, and of moved numbers."""

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
)

from ingest.store.schema.base import Id, metadata

# Who may write, by token. Without a digest the token was removed; what was said stands.
account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("digest", LargeBinary(32)),  # SHA-256 of the token
    Column("lists", Text, nullable=False),  # list ids that it may write to; '' for all
    Column("made", DateTime, nullable=False),
)

# What was set on a patch; null where nothing was.
override = Table(
    "override",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("state", Text),
    Column("archived", Boolean),
    Column("commit_ref", Text),
    Column("delegate_id", Id, ForeignKey("account.id")),
)

# Patches that people call the same change: those with one number.
relation = Table(
    "relation",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Index("ix_relation_number", "number"),
)

check = Table(
    "check",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("account_id", Id, ForeignKey("account.id"), nullable=False),
    Column("date", DateTime, nullable=False),
    Column("state", String(8), nullable=False),
    Column("context", Text, nullable=False),
    Column("target_url", Text, nullable=False),
    Column("description", Text, nullable=False),
    CheckConstraint("state IN ('pending', 'success', 'warning', 'fail')", name="state"),
    Index("ix_check_message_id", "message_id"),
)

# Numbers that clients may hold and that no row has any more: what has taken their row's place,
# and the key that takes the number back when it is there again. See store.write.redirects.
redirect = Table(
    "redirect",
    metadata,
    Column("kind", String(8), nullable=False),  # 'series' or 'message'
    Column("id", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("to_id", BigInteger),
    PrimaryKeyConstraint("kind", "id"),
    Index("ix_redirect_key", "kind", "key"),
    Index("ix_redirect_to_id", "kind", "to_id"),
)
