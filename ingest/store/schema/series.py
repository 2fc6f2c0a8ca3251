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

from ingest.series.outcome import Outcome
from ingest.store.schema.base import Id, SearchedTime, metadata, name_order, partial_index


def _record(outcome: Outcome, *columns: SchemaItem) -> Table:
    """Define the table of a record, whose foreign key enforces that its message is one."""
    return Table(
        outcome.value,
        metadata,
        Column("message_id", Id, primary_key=True, autoincrement=False),
        Column("outcome", String(8), nullable=False, server_default=outcome.value),
        *columns,
        ForeignKeyConstraint(["message_id", "outcome"], ["message.id", "message.outcome"]),
        CheckConstraint(f"outcome = '{outcome}'", name="outcome"),
    )


# A message that is a patch.
patch = _record(
    Outcome.PATCH,
    Column("name", Text, nullable=False),  # the subject without its prefixes
    Column("prefixes", Text, nullable=False),  # of the subject: JSON list
    Column("hash", String(40)),  # Patchwork's hash of the diff
    Column("patch_id", String(40)),  # as `git patch-id --stable` computes it
    Column("pull_url", Text),  # the repository of a pull request
    Column("state", Text, nullable=False),  # as the mail says
    # To whom mail and rules assign it: the name or address of an account, which may not exist.
    Column("derived_delegate", Text),
    # Whom a MAINTAINERS file names for its files: addresses, one a line.
    Column("maintainers", Text),
    # What `state_evidence` shows, null where it shows nothing. See store.activity.states.
    Column("derived_state", Text),
    Column("derived_commit_ref", Text),
    # What is shown, of `override` and of the evidence. `listing` has it again, to find patches by.
    Column("current_state", Text),  # null where neither has a state
    Column("archived", Boolean, nullable=False),
    Column("commit_ref", Text),
    Column("delegate_id", BigInteger),
)

# The state of a patch: as it was set or derived, else as the mail says.
current_state = func.coalesce(patch.c.current_state, patch.c.state)

Index("ix_patch_hash", patch.c.hash, patch.c.message_id)

Index("ix_patch_name", name_order(patch.c.name), patch.c.message_id)

Index("ix_patch_patch_id", patch.c.patch_id)

# Few patches have one, so that the index costs new mail nothing.
partial_index(
    "ix_patch_derived_delegate",
    patch.c.derived_delegate,
    where=patch.c.derived_delegate.is_not(None),
)

# What shows the state of a patch: one row for each piece of evidence. See lifecycle.evidence.
state_evidence = Table(
    "state_evidence",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), autoincrement=False),
    Column("kind", String(16), nullable=False),  # a lifecycle.evidence.EvidenceKind
    Column("source", Text, nullable=False),  # the message, or repository, ref and commit
    Column("state", Text, nullable=False),
    Column("date", DateTime, nullable=False),  # when the state took effect
    Column("commit_ref", Text),
    Column("detail", Text, nullable=False),  # how it shows the state, for people
    PrimaryKeyConstraint("message_id", "kind", "source"),
    Index("ix_state_evidence_source", "source"),
)

partial_index(
    "ix_state_evidence_commit_ref",
    state_evidence.c.commit_ref,
    where=state_evidence.c.commit_ref.is_not(None),
)

# A message that is the cover letter of a series.
cover = _record(
    Outcome.COVER,
    Column("name", Text, nullable=False),
    Column("prefixes", Text, nullable=False),
    Column("pull_url", Text),
)

Index("ix_cover_name", name_order(cover.c.name), cover.c.message_id)

# A message that is a comment on a patch or cover.
comment = _record(
    Outcome.COMMENT,
    Column("parent_id", Id, ForeignKey("message.id")),  # what it applies to, null if unknown
    CheckConstraint("parent_id <> message_id", name="parent"),
)

Index("ix_comment_parent_id", comment.c.parent_id)

# One posting of one version of a set of patches.
series = Table(
    "series",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # of its cover, else of its first patch
    Column("name", Text),
    Column("version", BigInteger, nullable=False),
    Column("version_minor", Integer, nullable=False),  # 1 of v2.1
    Column("total", BigInteger, nullable=False),  # how many patches it should have
    Column("received_total", Integer, nullable=False),  # how many of them were received
    Column("received_all", Boolean, nullable=False),
    Column("date", SearchedTime),
    Column("person_id", Id, ForeignKey("person.id"), nullable=False),
    Column("cover_id", Id, ForeignKey("message.id")),
    Column("partial", Boolean, nullable=False),  # it replaces patches of another series
    Column("parent_series", Text),  # the key of the series in whose thread it was sent
    Column("thread_id", BigInteger, nullable=False),  # of its first member
    Column("fast_path_ok", Boolean, nullable=False),  # see store.write.fast_path
    Column("loose_crowd", Boolean, nullable=False),  # one of too many pieces; see series.crowd
    CheckConstraint("version >= 0", name="version"),
    CheckConstraint("total >= 1", name="total"),
    CheckConstraint("received_total >= 0", name="received_total"),
    Index("ix_series_cover_id", "cover_id"),
    Index("ix_series_thread_id", "thread_id", "loose_crowd", "id"),
)

Index("ix_series_name", name_order(series.c.name), series.c.id)

# A patch or cover of a series.
member = Table(
    "member",
    metadata,
    # The key alone, because a message belongs to at most one series.
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("series_id", Id, ForeignKey("series.id"), nullable=False),
    Column("number", BigInteger),  # null for the cover
    Column("minor", Integer, nullable=False),  # 5 of `0.5/5`
    Column("rule", Text, nullable=False),  # why it is a member: a series.draft.Rule
    Column("evidence", Text, nullable=False),  # what the rule was applied to
    CheckConstraint("number >= 0", name="number"),
    UniqueConstraint("series_id", "number", "minor"),
)

# What a series may share with its earlier and later revisions, as hashes; see series.links.
# They find the series between which `revision_link` can have a row.
trace = Table(
    "trace",
    metadata,
    Column("trace", BigInteger, nullable=False),
    Column("series_id", Id, ForeignKey("series.id"), nullable=False),
    PrimaryKeyConstraint("trace", "series_id"),
    Index("ix_trace_series_id", "series_id"),
)

# Which series may be an earlier revision of which, and which of them it supersedes. Without foreign
# keys: a writer that holds the lock of states must not wait for the rows of another one, which
# waits for that lock and then removes what it finds here. See store.states.links.
revision_link = Table(
    "revision_link",
    metadata,
    Column("series_id", BigInteger, nullable=False),
    Column("earlier_id", BigInteger, nullable=False),
    Column("chosen", Boolean, nullable=False),  # the series supersedes the earlier one
    PrimaryKeyConstraint("series_id", "earlier_id"),
    Index("ix_revision_link_earlier_id", "earlier_id"),
)

# Messages, by key, whose series an operator has chosen. See store.write.pins.
pin = Table(
    "pin",
    metadata,
    Column("key", Text, primary_key=True),
    Column("target", Text, nullable=False),  # a message of the series; '' for a series of its own
    Column("made", DateTime, nullable=False),  # when it was pinned
)
