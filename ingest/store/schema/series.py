"""Define the tables of patches, covers, comments and series."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.schema import SchemaItem

from ingest.store.schema.base import Id, metadata, partial_index


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
partial_index(
    "ix_patch_archived",
    patch.c.message_id,
    where=patch.c.archived.is_(True),
)

partial_index(
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

# Where operators have put a message, by key: beside the message `target`, or alone ('').
pin = Table(
    "pin",
    metadata,
    Column("key", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("made", DateTime, nullable=False),
)
