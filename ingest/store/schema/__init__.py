"""The tables, as SQLAlchemy Core sees them; `migrations/` makes them.

Three layers, from bytes to meaning:

- `mail` is the spool: each distinct sequence of bytes that was accepted, once, compressed.
  Rows come before anything is parsed and parsing does not alter them; `pending` says which
  of them wait for it.
- `message` is an identity: what the mails with one Message-ID and one content are, each of
  them a `copy`. A mail with other content under the same id is a message of its own, told
  apart by `variant`. `posting` says through which lists its mails came.
- `patch`, `cover` and `comment` are what a message is; a message is at most one of them,
  which the composite foreign key on (message, outcome) holds.

Beside them stands what people say (`override`, `check`, `relation`, by `account`), and what has
happened (`event`).

Times are naive UTC. Text never holds NUL or lone surrogates.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.schema import SchemaItem


def _partial(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]) -> None:
    """An index of the rows alone for which `where` holds."""
    Index(name, *columns, postgresql_where=where, sqlite_where=where)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")


def storable(text: str) -> str:
    """`text` without NUL and lone surrogates, whatever others have put into it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


OUTCOMES = ("patch", "cover", "comment", "other", "ignored")

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
_partial(
    "ix_pending_waiting",
    pending.c.mail_id,
    where=pending.c.reason.is_(None),
)

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
_partial(
    "ix_message_bucket",
    message.c.bucket,
    message.c.date,
    where=message.c.bucket.is_not(None),
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


def _record(name: str, outcome: str, *columns: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        Column("message_id", Id, primary_key=True, autoincrement=False),
        Column("outcome", String(8), nullable=False, server_default=outcome),
        *columns,
        ForeignKeyConstraint(["message_id", "outcome"], ["message.id", "message.outcome"]),
        CheckConstraint(f"outcome = '{outcome}'", name="outcome"),
    )


patch = _record(
    "patch",
    "patch",
    Column("name", Text, nullable=False),
    Column("prefixes", Text, nullable=False),  # JSON list
    Column("hash", String(40)),
    Column("patch_id", String(40)),
    Column("pull_url", Text),
    Column("state", Text, nullable=False),  # as the mail says
    # What people have set, laid over what the mail says; `override` keeps it. See store.activity.overrides.
    Column("current_state", Text),  # the state, null where nobody has set one
    Column("archived", Boolean, nullable=False),
    Column("commit_ref", Text),
    Column("delegate_id", BigInteger),
)
# The state that a patch has, and is found by.
current_state = func.coalesce(patch.c.current_state, patch.c.state)
Index("ix_patch_hash", patch.c.hash)
Index("ix_patch_patch_id", patch.c.patch_id)
Index("ix_patch_current_state", current_state, patch.c.message_id)
# Of what few patches have: mail that comes pays nothing for them.
_partial(
    "ix_patch_archived",
    patch.c.message_id,
    where=patch.c.archived.is_(True),
)
_partial(
    "ix_patch_delegate_id",
    patch.c.delegate_id,
    patch.c.message_id,
    where=patch.c.delegate_id.is_not(None),
)

cover = _record(
    "cover",
    "cover",
    Column("name", Text, nullable=False),
    Column("prefixes", Text, nullable=False),
    Column("pull_url", Text),
)

comment = _record(
    "comment",
    "comment",
    Column("parent_id", Id, ForeignKey("message.id")),
    CheckConstraint("parent_id <> message_id", name="parent"),
)
Index("ix_comment_parent_id", comment.c.parent_id)

series = Table(
    "series",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("name", Text),
    Column("version", BigInteger, nullable=False),
    Column("version_minor", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("received_total", Integer, nullable=False),
    Column("received_all", Boolean, nullable=False),
    Column("date", DateTime),
    Column("person_id", Id, ForeignKey("person.id"), nullable=False),
    Column("cover_id", Id, ForeignKey("message.id")),
    Column("partial", Boolean, nullable=False),  # it replaces patches of another series
    Column("parent_series", Text),  # the key of the series in whose thread it was sent
    Column("thread_id", BigInteger, nullable=False),  # of its first member
    Column("fast_path_ok", Boolean, nullable=False),  # see store.leaves
    CheckConstraint("version >= 0", name="version"),
    CheckConstraint("total >= 1", name="total"),
    CheckConstraint("received_total >= 0", name="received_total"),
    Index("ix_series_date", "date"),
    Index("ix_series_person_id", "person_id"),
    Index("ix_series_cover_id", "cover_id"),
    Index("ix_series_thread_id", "thread_id"),
)

member = Table(
    "member",
    metadata,
    # A message belongs to at most one series: it is the key.
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("series_id", Id, ForeignKey("series.id"), nullable=False),
    Column("number", BigInteger),
    Column("minor", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    CheckConstraint("number >= 0", name="number"),
    UniqueConstraint("series_id", "number", "minor"),
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

# What a series shares with its earlier and later revisions; see series.supersede. Which series
# supersedes which is worked out from it when it is asked for.
trace = Table(
    "trace",
    metadata,
    Column("trace", BigInteger, nullable=False),
    Column("series_id", Id, ForeignKey("series.id"), nullable=False),
    PrimaryKeyConstraint("trace", "series_id"),
    Index("ix_trace_series_id", "series_id"),
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

# Where operators have put a message, by key: beside the message `target`, or alone ('').
pin = Table(
    "pin",
    metadata,
    Column("key", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("made", DateTime, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", Text, nullable=False),
)

# --- what people say through the API: never part of what the mail says ------------------------

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

_partial(
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
