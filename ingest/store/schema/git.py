"""Define the tables of commits, in which patches land, and of how far repositories were scanned.

The facts of all scanned commits are kept, because the mail of a patch may arrive after its commit.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ingest.store.schema.base import Id, metadata, partial_index

# A configured repository. One path with two tables of refs is two repositories.
repository = Table(
    "repository",
    metadata,
    Column("id", Id, primary_key=True),
    Column("path", Text, nullable=False),
    Column("refs", Text, nullable=False),  # JSON list of [pattern, state]
    UniqueConstraint("path", "refs"),
)

# The lists whose patches land in a repository, as they are configured.
repository_list = Table(
    "repository_list",
    metadata,
    Column("repository_id", Id, ForeignKey("repository.id"), nullable=False),
    Column("list_id", Text, nullable=False),  # as in list.list_id, which may not exist yet
    PrimaryKeyConstraint("repository_id", "list_id"),
)

# The MAINTAINERS file of a list, as it was read last.
maintainers_file = Table(
    "maintainers_file",
    metadata,
    Column("list_id", Text, primary_key=True),  # as in list.list_id, which may not exist yet
    Column("digest", String(64), nullable=False),  # of the sections, '' where there are none
    Column("sections", Text, nullable=False),  # JSON, see lifecycle.delegation
    Column("assigned", Boolean, nullable=False),  # all patches have its maintainers
)

# A ref, and how far it was scanned.
scanned_ref = Table(
    "scanned_ref",
    metadata,
    Column("id", Id, primary_key=True),
    Column("repository_id", Id, ForeignKey("repository.id"), nullable=False),
    Column("name", Text, nullable=False),  # refs/heads/…
    Column("rank", Integer, nullable=False),  # of the pattern that matches it
    Column("state", Text, nullable=False),  # of patches whose commits it contains
    Column("tip", String(64)),  # all its commits are stored, null where none was
    # The tip; and, until a scan ends, the tips of all scans since then that were interrupted.
    Column("targets", Text, nullable=False),
    UniqueConstraint("repository_id", "name"),
)

# The facts of a commit, which are the same in every repository: see lifecycle.commit.CommitFacts.
git_commit = Table(
    "git_commit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha", String(64), nullable=False, unique=True),
    Column("author_name", Text, nullable=False),
    Column("author_email", Text, nullable=False),
    Column("author_date", DateTime),
    Column("commit_date", DateTime),
    Column("title", Text, nullable=False),
    Column("links", Text),  # JSON list, null where there is none
    Column("originals", Text),  # JSON list, null where there is none
    Column("patch_id", String(40)),
    Column("other_patch_ids", Text),  # JSON list, null where they were not computed
    Column("sample", LargeBinary),
    # Whether the other patch-ids are to be computed.
    Column("pending", Boolean, nullable=False),
)

partial_index("ix_git_commit_pending", git_commit.c.id, where=git_commit.c.pending.is_(True))

# The first ref of each repository, in the order of the configuration, that contains a commit.
ref_commit = Table(
    "ref_commit",
    metadata,
    Column("repository_id", Id, ForeignKey("repository.id"), nullable=False),
    Column("commit_id", Id, ForeignKey("git_commit.id"), nullable=False),
    Column("ref_id", Id, ForeignKey("scanned_ref.id"), nullable=False),
    PrimaryKeyConstraint("commit_id", "repository_id"),
    Index("ix_ref_commit_ref_id", "ref_id", "commit_id"),
)

# What a commit may have in common with a patch: patch-id, Message-ID, date or title, as hashes of
# 63 bits. See store.commits.keys.
commit_key = Table(
    "commit_key",
    metadata,
    Column("key", BigInteger, nullable=False),
    Column("commit_id", Id, ForeignKey("git_commit.id"), nullable=False),
    PrimaryKeyConstraint("key", "commit_id"),
    Index("ix_commit_key_commit_id", "commit_id"),
)

# The same of patches. It is empty where no repository is configured.
patch_key = Table(
    "patch_key",
    metadata,
    Column("key", BigInteger, nullable=False),
    Column("message_id", Id, nullable=False),
    PrimaryKeyConstraint("key", "message_id"),
    Index("ix_patch_key_message_id", "message_id"),
)

# The patch of a list that a commit was made from.
landing = Table(
    "landing",
    metadata,
    Column("commit_id", Id, ForeignKey("git_commit.id"), nullable=False),
    Column("list_id", Text, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("found_by", Text, nullable=False),  # lifecycle.landing.MatchKey, comma-joined
    PrimaryKeyConstraint("commit_id", "list_id"),
    Index("ix_landing_message_id", "message_id"),
)

# One row: the number of scans that were requested, and whether every patch has its keys.
scan_status = Table(
    "scan_status",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("has_patch_keys", Boolean, nullable=False),
)
