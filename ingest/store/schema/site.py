"""Define the tables of what a Patchwork site has beside its mail, imported or set through the API.

A site that was not imported has no rows here, except where a client makes some: its states and
projects are those of the configuration.
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

from ingest.store.schema.base import Id, metadata

# The states of patches of an imported site, which take precedence over those of the configuration.
state = Table(
    "state",
    metadata,
    Column("id", Id, primary_key=True),  # Patchwork's number
    Column("name", Text, nullable=False),  # for people
    Column("slug", Text, nullable=False, unique=True),  # as patches have it
    Column("ordering", Integer, nullable=False),  # its place in the list
    Column("action_required", Boolean, nullable=False),  # patches with it wait for somebody
)

# The settings of a list that were imported or set through the API. Null columns were not set: the
# configuration has them. These take precedence over the configuration.
project = Table(
    "project",
    metadata,
    Column("list_id", Id, ForeignKey("list.id"), primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("link_name", Text),
    Column("list_email", Text),
    Column("web_url", Text),
    Column("scm_url", Text),
    Column("webscm_url", Text),
    Column("list_archive_url", Text),
    Column("list_archive_url_format", Text),
    Column("commit_url_format", Text),
    Column("subject_match", Text),
    Column("use_tags", Boolean),
    Column("show_dependencies", Boolean),
)

# Trailers that are counted for each patch.
tag = Table(
    "tag",
    metadata,
    Column("id", Id, primary_key=True),  # Patchwork's number
    Column("name", Text, nullable=False),
    Column("pattern", Text, nullable=False),  # the regular expression of the trailer's line
    Column("abbrev", Text, nullable=False),  # for the column of lists
    Column("show_column", Boolean, nullable=False),
)

# A named list of patches that an account has made.
bundle = Table(
    "bundle",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("account.id"), nullable=False),  # its owner
    Column("list_id", Id, ForeignKey("list.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("public", Boolean, nullable=False),  # everybody may see it
    UniqueConstraint("account_id", "name"),
    Index("ix_bundle_list_id", "list_id"),
)

# A patch of a bundle.
bundle_patch = Table(
    "bundle_patch",
    metadata,
    Column("bundle_id", Id, ForeignKey("bundle.id"), nullable=False),
    Column("message_id", Id, ForeignKey("message.id"), nullable=False),
    Column("position", Integer, nullable=False),  # in the bundle
    PrimaryKeyConstraint("bundle_id", "message_id"),
    Index("ix_bundle_patch_message_id", "message_id"),
)

# Whether people have dealt with a comment. A comment without a row was not marked.
comment_mark = Table(
    "comment_mark",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("addressed", Boolean, nullable=False),
    Column("date", DateTime),  # when it was marked, null if unknown
    Column("account_id", Id, ForeignKey("account.id")),  # by whom, null if unknown
)

# What clients keep with a series. Without a foreign key: see store.site.series_metadata.
series_metadata = Table(
    "series_metadata",
    metadata,
    Column("series_id", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("series_id", "key"),
    Index("ix_series_metadata_key", "key", "value"),
)

# In Patchwork, a mail that was sent to two lists is two patches, each with its own number, state
# and checks. An imported message is the record of one of these lists; for each of the others it
# has a message of its own, of which no mail is a copy. See store.site.list_records.
list_record = Table(
    "list_record",
    metadata,
    Column("message_id", Id, ForeignKey("message.id"), primary_key=True, autoincrement=False),
    Column("list_id", Id, ForeignKey("list.id"), nullable=False),
    Column("original_id", Id, ForeignKey("message.id"), nullable=False),  # the mails' message
    UniqueConstraint("original_id", "list_id"),
)

# The rows of Patchwork's tables that were imported, and what each of them became.
imported = Table(
    "imported",
    metadata,
    Column("kind", String(16), nullable=False),  # a store.site.numbers.NumberKind
    Column("number", BigInteger, nullable=False),  # Patchwork's
    Column("row_id", BigInteger),  # of what its number leads to, null where there is nothing
    Column("digest", LargeBinary(16), nullable=False),  # of what the row said
    PrimaryKeyConstraint("kind", "number"),
    Index("ix_imported_row_id", "kind", "row_id"),
)

# The highest numbers of an imported site. See store.site.numbers.
reserved_number = Table(
    "reserved_number",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("highest", BigInteger, nullable=False),
)
