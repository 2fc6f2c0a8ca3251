"""Define the tables of mail as it was accepted, and of what was found out about each copy."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    false,
)

from ingest.store.schema.base import Id, metadata, partial_index

mail = Table(
    "mail",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("size", Integer, nullable=False),
    Column("codec", SmallInteger, nullable=False),  # see store.raw
    Column("raw", LargeBinary, nullable=False),
    Column("source", Text, nullable=False),  # where it was first heard: "replay", "lmtp", …
    Column("envelope", Text),  # JSON of what the SMTP dialog said, where there was one
    Column("route", Text, nullable=False),  # list ids that its delivery named, comma-joined
    Column("container_errors", Text, nullable=False),  # defects that only the container shows
    Column("withdrawn", Boolean, nullable=False),  # its archive has taken it back
    Column("accepted", DateTime, nullable=False),
    CheckConstraint("length(sha256) = 32", name="sha256"),
    CheckConstraint("size >= 0", name="size"),
    Index("ix_mail_accepted", "accepted"),
)

# Accepted and not derived, or to be derived anew: the queue, and with a reason the quarantine.
# A row goes when its mail's records are written. See store.inbox.queue for claims and tries.
pending = Table(
    "pending",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), primary_key=True, autoincrement=False),
    Column("tries", Integer, nullable=False),
    Column("reason", Text),
    Column("claimed_until", DateTime),  # whoever has it in hand says so until then
    Column("claimed_by", Text),
)

# So that a large quarantine is not gone through to find what waits.
partial_index(
    "ix_pending_waiting",
    pending.c.mail_id,
    where=pending.c.reason.is_(None),
)

# What deriving made of a mail: a copy of some message. The raw bytes are not touched by it.
copy = Table(
    "copy",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), primary_key=True, autoincrement=False),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("rank", Text, nullable=False),  # the least is the best copy
    Column("received_at", DateTime),  # the topmost Received header's time, else the date
    # Whether DNS was asked for its keys, and with that whether it has answers and verdicts.
    Column("asked", Boolean, nullable=False, server_default=false()),
    Column("chain", String(16)),  # what its ARC chain comes to
    Index("ix_copy_message_id", "message_id"),
)

# What DNS said of a key that a mail's signatures name, when it was asked; see trust.signatures.dns_answer.
answer = Table(
    "answer",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("text", Text),  # the record, where there is one
    PrimaryKeyConstraint("mail_id", "name"),
    CheckConstraint("(kind = 'found') = (text IS NOT NULL)", name="text"),
)

# What was found out about a signature of a mail: a trust.signatures.verdict.Verdict.
verdict = Table(
    "verdict",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("number", Integer, nullable=False),  # among the verdicts on the mail
    Column("kind", String(16), nullable=False),
    Column("position", Integer, nullable=False),
    Column("result", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("domain", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("instance", Integer),
    Column("algorithm", Text, nullable=False),
    Column("canonicalisation", Text, nullable=False),
    Column("headers", Text, nullable=False),  # JSON list of names
    Column("length", BigInteger),
    Column("whole_body", Boolean, nullable=False),
    Column("aligned", String(8), nullable=False),
    Column("key_bits", Integer),
    Column("key", Text),
    Column("judged", DateTime),
    PrimaryKeyConstraint("mail_id", "number"),
)

# What our own mail servers found, by their Authentication-Results; see trust.authres.
auth_result = Table(
    "auth_result",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("position", Integer, nullable=False),  # over all fields of the mail
    Column("field", Integer, nullable=False),  # which of our fields
    Column("server", Text, nullable=False),
    Column("method", Text),  # NULL: the server says that it checked nothing
    Column("result", Text),
    Column("reason", Text),
    Column("properties", Text),  # JSON list of [type, name, value]
    PrimaryKeyConstraint("mail_id", "position"),
    CheckConstraint("(method IS NULL) = (result IS NULL)", name="method"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", Text, nullable=False),
)
