"""Define the tables of messages, the people and lists that they belong to, and their threads."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ingest.store.schema.base import Id, metadata, partial_index

list_ = Table(
    "list",
    metadata,
    Column("id", Id, primary_key=True),
    Column("list_id", Text, nullable=False, unique=True),
    Column("link_name", Text, nullable=False),
    Column("email", Text, nullable=False),
)

person = Table(
    "person",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False, unique=True),  # domain in lower case
    Column("name", Text, nullable=False),
    Column("name_rank", Text, nullable=False),  # the newest message's name wins, whenever it came
)

message = Table(
    "message",
    metadata,
    Column("id", Id, primary_key=True),
    Column("msgid", Text, nullable=False),
    Column("variant", String(12), nullable=False),  # '' or, for a conflicting copy, its digest
    Column("fingerprint", String(40), nullable=False),
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),  # the best copy
    Column("thread_id", BigInteger, nullable=False),
    Column("bucket", BigInteger),  # unthreaded members of one posting; see series.facts
    Column("date", DateTime),
    Column("subject", Text, nullable=False),
    Column("person_id", Id, ForeignKey("person.id"), nullable=False),
    Column("sender_name", Text, nullable=False),
    Column("author_name", Text),  # only where the author is not the submitter
    Column("author_email", Text),
    Column("in_reply_to", Text),
    Column("kind", String(8), nullable=False),  # what the mail alone says
    Column("outcome", String(8), nullable=False),  # what it is in its thread
    Column("reason", Text, nullable=False),
    Column("defects", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON of what arranging needs to know
    Column("rewriting", String(16)),  # what stood in From instead of the person
    Column("person_source", String(20)),  # where the person was found
    UniqueConstraint("msgid", "variant"),
    UniqueConstraint("id", "outcome"),
    CheckConstraint("outcome IN ('patch', 'cover', 'comment', 'other', 'ignored')", name="outcome"),
    Index("ix_message_thread_id", "thread_id"),
    Index("ix_message_date", "date"),
    Index("ix_message_person_id", "person_id", "id"),
    Index("ix_message_mail_id", "mail_id"),
)

# Of the few that are in a bucket.
partial_index(
    "ix_message_bucket",
    message.c.bucket,
    message.c.date,
    where=message.c.bucket.is_not(None),
)

body = Table(
    "body",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True),
    Column("content", Text, nullable=False),
    Column("diff", Text),
)

posting = Table(
    "posting",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("list_id", Id, ForeignKey("list.id"), nullable=False),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    PrimaryKeyConstraint("mail_id", "list_id"),
    Index("ix_posting_list_id", "list_id", "message_id"),
    Index("ix_posting_message_id", "message_id"),
)

# Which thread an id belongs to, ids of mail not yet seen included. `node` is the id's
# 63-bit hash: two ids that share one would share a thread, which arranging bears.
thread_node = Table(
    "thread_node",
    metadata,
    Column("node", BigInteger, primary_key=True, autoincrement=False),
    Column("thread_id", BigInteger, nullable=False),
    Index("ix_thread_node_thread_id", "thread_id"),
)

trailer = Table(
    "trailer",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("message_id", "position"),
)

# What a message says that it builds on. The target may not have come yet.
dependency = Table(
    "dependency",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("target", Text, nullable=False),
    PrimaryKeyConstraint("message_id", "position"),
    Index("ix_dependency_target", "target"),
)
