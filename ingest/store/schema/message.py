"""Define the tables of messages, the people and lists that they belong to, and their threads."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ingest.series.outcome import Outcome
from ingest.store.schema.base import Id, SearchedTime, metadata, name_order, partial_index

# A mailing list.
list_ = Table(
    "list",
    metadata,
    Column("id", Id, primary_key=True),
    Column("list_id", Text, nullable=False, unique=True),  # as List-Id has it
    Column("link_name", Text, nullable=False),  # the short name in URLs
    Column("email", Text, nullable=False),  # its posting address, '' if unknown
)

# A submitter: one row for each address, whatever the case in which it is written.
person = Table(
    "person",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # see trust.person.person_key
    Column("email", Text, nullable=False),  # as the newest message writes it
    Column("name", Text, nullable=False),  # on the newest message
    Column("name_rank", Text, nullable=False),  # see store.write.people.name_rank
    Column("account_id", BigInteger),  # the account whose address this is
)

Index("ix_person_name", name_order(person.c.name), person.c.id)

_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in Outcome)

# A message, whatever it is. Its other columns are those of its best copy.
message = Table(
    "message",
    metadata,
    Column("id", Id, primary_key=True),
    Column("msgid", Text, nullable=False),
    Column(
        "variant", String(12), nullable=False
    ),  # '', or digits of the fingerprint for a conflicting copy
    Column("fingerprint", String(40), nullable=False),  # equal for all its copies
    Column("mail_id", Id, ForeignKey("mail.id"), nullable=False),  # the best copy
    Column("thread_id", BigInteger, nullable=False),  # as in thread_node
    Column("bucket", BigInteger),  # shared by unthreaded pieces of one posting; see series.facts
    Column("date", SearchedTime),
    Column("subject", Text, nullable=False),
    Column("person_id", Id, ForeignKey("person.id"), nullable=False),
    Column("sender_name", Text, nullable=False),  # the name of the person on this message
    Column("sender_email", Text, nullable=False),  # the address, as this message writes it
    Column("author_name", Text),  # null unless the author is not the submitter
    Column("author_email", Text),
    Column("in_reply_to", Text),  # the Message-ID that it replies to
    Column("kind", String(8), nullable=False),  # what it is by its mail alone
    Column("outcome", String(8), nullable=False),  # what it is in its thread
    Column("reason", Text, nullable=False),  # why it has this outcome
    Column("defects", Text, nullable=False),  # of the mail, comma-joined
    Column("facts", Text, nullable=False),  # JSON of what arranging needs; see series.facts
    Column("rewriting", String(16)),  # how From was rewritten, null if it was not
    Column("person_source", String(20)),  # where the person was found
    UniqueConstraint("msgid", "variant"),
    UniqueConstraint("id", "outcome"),
    CheckConstraint(f"outcome IN ({_OUTCOMES})", name="outcome"),
    Index("ix_message_thread_id", "thread_id", "outcome", "in_reply_to"),
    Index("ix_message_person_id", "person_id", "id"),
    Index("ix_message_mail_id", "mail_id"),
)

# Few messages are in a bucket.
partial_index(
    "ix_message_bucket",
    message.c.bucket,
    message.c.date,
    where=message.c.bucket.is_not(None),
)

# The text of a message.
body = Table(
    "body",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True),
    # The files that a patch touches, one a line. Before what is long, to be read without that.
    Column("files", Text),
    Column("content", Text, nullable=False),  # without the diff
    Column("diff", Text),  # null where there is none
)

# A list through which a mail was received.
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

# The thread of each Message-ID, including ids of mail that has not been seen. `node` is a 63-bit
# hash of the id: two ids with one hash would share a thread, which does no harm to arranging.
thread_node = Table(
    "thread_node",
    metadata,
    Column("node", BigInteger, primary_key=True, autoincrement=False),
    Column("thread_id", BigInteger, nullable=False),
    Index("ix_thread_node_thread_id", "thread_id"),
)

# A trailer of a message, such as Signed-off-by.
trailer = Table(
    "trailer",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("position", Integer, nullable=False),  # in the message
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("message_id", "position"),
)

# What a message announces of the states of patches: see lifecycle.announcement.
announcement = Table(
    "announcement",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
)

# The mails that an announcement depends on: those that it answers, and those that it names.
announcement_target = Table(
    "announcement_target",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("target", Text, nullable=False),  # a Message-ID
    Column("position", Integer, nullable=False),  # the nearest that it answers has 0
    Column("is_answered", Boolean, nullable=False),
    Column("is_entitled", Boolean, nullable=False),  # its sender may set states of some list
    PrimaryKeyConstraint("message_id", "position"),
    Index("ix_announcement_target_target", "target", "is_entitled"),
)

# What a message says that it builds on. The target may not have been received yet.
dependency = Table(
    "dependency",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("position", Integer, nullable=False),  # in the message
    Column("kind", String(24), nullable=False),  # base-commit, patch-id, change-id, message, …
    Column("target", Text, nullable=False),  # the commit, id, Message-ID, URL or number
    PrimaryKeyConstraint("message_id", "position"),
    Index("ix_dependency_target", "target"),
)
