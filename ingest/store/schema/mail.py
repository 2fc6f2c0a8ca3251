"""Define the tables of accepted mail, and of what was derived from each copy."""

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
    and_,
    false,
    text,
)

from ingest.store.schema.base import Id, metadata, partial_index

# The spool: each distinct sequence of bytes that was accepted, with what its deliveries said.
mail = Table(
    "mail",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),  # of the raw bytes
    Column("size", Integer, nullable=False),  # of the raw bytes
    Column("codec", SmallInteger, nullable=False),  # of `raw`; see store.inbox.codec
    Column("raw", LargeBinary, nullable=False),  # the bytes, encoded with `codec`
    Column("source", Text, nullable=False),  # of the first delivery: "replay", "lmtp", …
    Column("envelope", Text),  # JSON of the SMTP envelope, null without one
    Column("route", Text, nullable=False),  # list ids that its deliveries named, comma-joined
    Column(
        "container_errors", Text, nullable=False
    ),  # defects that only the container shows, comma-joined
    Column("withdrawn", Boolean, nullable=False),  # its archive has removed it
    Column("accepted", DateTime, nullable=False),  # when it was first accepted
    CheckConstraint("length(sha256) = 32", name="sha256"),
    CheckConstraint("size >= 0", name="size"),
    Index("ix_mail_accepted", "accepted"),
)

# Mail to be derived, for the first time or again: the queue and, with a reason, the quarantine.
# A row is deleted when the records of its mail are written. See store.inbox.queue.
pending = Table(
    "pending",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), primary_key=True, autoincrement=False),
    Column("tries", Integer, nullable=False),  # that have failed or may have killed a daemon
    Column("reason", Text),  # why it is in the quarantine, null in the queue
    Column("claimed_until", DateTime),  # the end of the lease
    Column("claimed_by", Text),  # the name of the claimant
    # A hash of who sent it, so that senders take turns; see store.inbox.flow.
    Column("flow", BigInteger, nullable=False, server_default="0"),
)

# So that waiting mail is found without reading a large quarantine.
partial_index(
    "ix_pending_waiting",
    pending.c.mail_id,
    where=pending.c.reason.is_(None),
)

# So that the quarantine is found without reading a long queue.
partial_index(
    "ix_pending_quarantined",
    pending.c.mail_id,
    where=pending.c.reason.is_not(None),
)

# So that the senders of mail that nobody has claimed are found one by one.
partial_index(
    "ix_pending_flow",
    pending.c.flow,
    pending.c.mail_id,
    where=and_(pending.c.reason.is_(None), pending.c.claimed_by.is_(None), text("tries = 0")),
)

# A derived mail: a copy of a message.
copy = Table(
    "copy",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), primary_key=True, autoincrement=False),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("rank", Text, nullable=False),  # the least is the best copy
    Column("received_at", DateTime),  # the time of the topmost Received header, else the date
    # Whether DNS was queried for its keys, and so whether it may have answers and verdicts.
    Column("asked", Boolean, nullable=False, server_default=false()),
    Column("chain", String(16)),  # the result of its ARC chain
    Index("ix_copy_message_id", "message_id"),
)

# Another id by which replies may name the message that a mail is a copy of: that of the mail of a
# list in which the sender's mail was wrapped. See mail.wrapping.
alias = Table(
    "alias",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("msgid", Text, nullable=False),
    PrimaryKeyConstraint("mail_id", "msgid"),
    Index("ix_alias_msgid", "msgid"),
)

# The DNS answer about a key of a mail's signatures. See trust.signatures.dns_answer.
answer = Table(
    "answer",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("name", Text, nullable=False),  # the DNS name that was queried
    Column("kind", String(16), nullable=False),  # found, no-such-key, failure or not-asked
    Column("text", Text),  # the TXT record, null unless found
    PrimaryKeyConstraint("mail_id", "name"),
    CheckConstraint("(kind = 'found') = (text IS NOT NULL)", name="text"),
)

# The result of verifying a signature of a mail; see trust.signatures.verdict.Verdict.
verdict = Table(
    "verdict",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("number", Integer, nullable=False),  # among the verdicts of the mail
    Column("kind", String(16), nullable=False),
    Column("position", Integer, nullable=False),  # of the header field
    Column("result", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("domain", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("instance", Integer),  # ARC's i=
    Column("algorithm", Text, nullable=False),
    Column("canonicalisation", Text, nullable=False),
    Column("headers", Text, nullable=False),  # the signed fields: JSON list of names
    Column("length", BigInteger),  # how much of the body is signed (l=), null for all of it
    Column("whole_body", Boolean, nullable=False),
    Column("aligned", String(8), nullable=False),  # whether the domain is that of From
    Column("key_bits", Integer),
    Column("key", Text),
    Column("judged", DateTime),  # when it was verified
    PrimaryKeyConstraint("mail_id", "number"),
)

# A result in the Authentication-Results of our own mail servers. See trust.authres.
auth_result = Table(
    "auth_result",
    metadata,
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),
    Column("position", Integer, nullable=False),  # among all results of the mail
    Column("field", Integer, nullable=False),  # the number of the header field
    Column("server", Text, nullable=False),  # the authserv-id
    Column("method", Text),  # null if the server says that it checked nothing
    Column("result", Text),
    Column("reason", Text),
    Column("properties", Text),  # JSON list of [type, name, value]
    PrimaryKeyConstraint("mail_id", "position"),
    CheckConstraint("(method IS NULL) = (result IS NULL)", name="method"),
)

# How far a replay of a source has been stored.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", Text, nullable=False),  # as the source defines it
)
