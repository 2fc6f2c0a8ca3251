"""Create every table. `ingest.store.schema` describes them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("lists", sa.Text(), nullable=False),
        sa.Column("all_lists", sa.Boolean(), nullable=False),
        sa.Column("is_superuser", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_index(
        "ix_account_digest",
        "account",
        ["digest"],
        unique=False,
        postgresql_where=sa.text("digest IS NOT NULL"),
        sqlite_where=sa.text("digest IS NOT NULL"),
    )
    op.create_index("ix_account_name", "account", [sa.text("substr(name, 1, 100)"), "id"])
    op.create_table(
        "checkpoint",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "event",
        sa.Column("id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("date", sa.DateTime(), nullable=True),
        sa.Column("category", sa.String(length=24), nullable=False),
        sa.Column("subject", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("series_id", sa.BigInteger(), nullable=True),
        sa.Column("check_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("current", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("category", "subject", name=op.f("uq_event_category_subject")),
        sa.UniqueConstraint("number", name=op.f("uq_event_number")),
    )
    op.create_index(
        "ix_event_account_id",
        "event",
        ["account_id", "number"],
        unique=False,
        postgresql_where=sa.text("account_id IS NOT NULL"),
        sqlite_where=sa.text("account_id IS NOT NULL"),
    )
    op.create_index("ix_event_category", "event", ["category", "number"], unique=False)
    op.create_index("ix_event_date", "event", ["date"], unique=False)
    op.create_index("ix_event_message_id", "event", ["message_id", "number"], unique=False)
    op.create_index("ix_event_series_id", "event", ["series_id"], unique=False)
    op.create_table(
        "following",
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("next_id", sa.BigInteger(), nullable=True),
        sa.Column("last_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("since", name=op.f("pk_following")),
    )
    op.create_table(
        "list",
        sa.Column("id", ID, nullable=False),
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.Column("link_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list")),
        sa.UniqueConstraint("list_id", name=op.f("uq_list_list_id")),
    )
    op.create_table(
        "listing",
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("list_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("delegate_id", sa.BigInteger(), nullable=True),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id", "list_id", name=op.f("pk_listing")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_listing_id", "listing", ["kind", "list_id", "id"], unique=False)
    op.create_index("ix_listing_date", "listing", ["kind", "list_id", "date", "id"], unique=False)
    op.create_index(
        "ix_listing_person",
        "listing",
        ["kind", "list_id", "person_id", "date", "id"],
        unique=False,
    )
    op.create_index(
        "ix_listing_state_id",
        "listing",
        ["kind", "list_id", "state", "archived", "id"],
        unique=False,
        postgresql_where=sa.text("state IS NOT NULL"),
        sqlite_where=sa.text("state IS NOT NULL"),
    )
    op.create_index(
        "ix_listing_state_date",
        "listing",
        ["kind", "list_id", "state", "archived", "date", "id"],
        unique=False,
        postgresql_where=sa.text("state IS NOT NULL"),
        sqlite_where=sa.text("state IS NOT NULL"),
    )
    op.create_index(
        "ix_listing_delegate",
        "listing",
        ["kind", "list_id", "delegate_id", "date", "id"],
        unique=False,
        postgresql_where=sa.text("delegate_id IS NOT NULL"),
        sqlite_where=sa.text("delegate_id IS NOT NULL"),
    )
    op.create_index(
        "ix_listing_project",
        "listing",
        ["kind", "project_id", "id"],
        unique=False,
        postgresql_where=sa.text("project_id IS NOT NULL"),
        sqlite_where=sa.text("project_id IS NOT NULL"),
    )
    op.create_table(
        "search_progress",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_search_progress")),
    )
    op.create_table(
        "mail",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=True),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("container_errors", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("accepted", sa.DateTime(), nullable=False),
        sa.CheckConstraint("length(sha256) = 32", name=op.f("ck_mail_sha256")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_mail_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail")),
        sa.UniqueConstraint("sha256", name=op.f("uq_mail_sha256")),
    )
    op.create_index("ix_mail_accepted", "mail", ["accepted"], unique=False)
    op.create_table(
        "person",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_rank", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("key", name=op.f("uq_person_key")),
    )
    op.create_index("ix_person_name", "person", [sa.text("substr(name, 1, 100)"), "id"])
    op.create_table(
        "pin",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_pin")),
    )
    op.create_table(
        "redirect",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("to_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_redirect")),
    )
    op.create_index("ix_redirect_key", "redirect", ["kind", "key"], unique=False)
    op.create_index("ix_redirect_to_id", "redirect", ["kind", "to_id"], unique=False)
    op.create_table(
        "thread_node",
        sa.Column("node", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_thread_node")),
    )
    op.create_index("ix_thread_node_thread_id", "thread_node", ["thread_id"], unique=False)
    op.create_table(
        "webhook",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_webhook")),
    )
    op.create_table(
        "answer",
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.CheckConstraint("(kind = 'found') = (text IS NOT NULL)", name=op.f("ck_answer_text")),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_answer_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", "name", name=op.f("pk_answer")),
    )
    op.create_table(
        "auth_result",
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("field", sa.Integer(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(method IS NULL) = (result IS NULL)", name=op.f("ck_auth_result_method")
        ),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_auth_result_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", "position", name=op.f("pk_auth_result")),
    )
    op.create_table(
        "message",
        sa.Column("id", ID, nullable=False),
        sa.Column("msgid", sa.Text(), nullable=False),
        sa.Column("variant", sa.String(length=12), nullable=False),
        sa.Column("fingerprint", sa.String(length=40), nullable=False),
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=True),
        sa.Column("date", sa.DateTime(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("sender_name", sa.Text(), nullable=False),
        sa.Column("sender_email", sa.Text(), nullable=False),
        sa.Column("author_name", sa.Text(), nullable=True),
        sa.Column("author_email", sa.Text(), nullable=True),
        sa.Column("in_reply_to", sa.Text(), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("defects", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("rewriting", sa.String(length=16), nullable=True),
        sa.Column("person_source", sa.String(length=20), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('patch', 'cover', 'comment', 'other', 'ignored')",
            name=op.f("ck_message_outcome"),
        ),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_message_mail_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_message_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("id", "outcome", name=op.f("uq_message_id_outcome")),
        sa.UniqueConstraint("msgid", "variant", name=op.f("uq_message_msgid_variant")),
    )
    op.create_index(
        "ix_message_bucket",
        "message",
        ["bucket", "date"],
        unique=False,
        postgresql_where=sa.text("bucket IS NOT NULL"),
        sqlite_where=sa.text("bucket IS NOT NULL"),
    )
    op.create_index("ix_message_mail_id", "message", ["mail_id"], unique=False)
    op.create_index("ix_message_person_id", "message", ["person_id", "id"], unique=False)
    op.create_index(
        "ix_message_thread_id", "message", ["thread_id", "outcome", "in_reply_to"], unique=False
    )
    op.create_table(
        "pending",
        sa.Column("mail_id", ID, autoincrement=False, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("flow", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_pending_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", name=op.f("pk_pending")),
    )
    op.create_index(
        "ix_pending_flow",
        "pending",
        ["flow", "mail_id"],
        unique=False,
        postgresql_where=sa.text("reason IS NULL AND claimed_by IS NULL AND tries = 0"),
        sqlite_where=sa.text("reason IS NULL AND claimed_by IS NULL AND tries = 0"),
    )
    op.create_index(
        "ix_pending_quarantined",
        "pending",
        ["mail_id"],
        unique=False,
        postgresql_where=sa.text("reason IS NOT NULL"),
        sqlite_where=sa.text("reason IS NOT NULL"),
    )
    op.create_index(
        "ix_pending_waiting",
        "pending",
        ["mail_id"],
        unique=False,
        postgresql_where=sa.text("reason IS NULL"),
        sqlite_where=sa.text("reason IS NULL"),
    )
    op.create_table(
        "verdict",
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=True),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("canonicalisation", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("whole_body", sa.Boolean(), nullable=False),
        sa.Column("aligned", sa.String(length=8), nullable=False),
        sa.Column("key_bits", sa.Integer(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("judged", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_verdict_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", "number", name=op.f("pk_verdict")),
    )
    op.create_table(
        "body",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("files", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_body_message_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_body")),
    )
    op.create_table(
        "check",
        sa.Column("id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'success', 'warning', 'fail')", name=op.f("ck_check_state")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_check_account_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_check_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check")),
    )
    op.create_index("ix_check_message_id", "check", ["message_id"], unique=False)
    op.create_table(
        "comment",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=8), server_default="comment", nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.CheckConstraint("outcome = 'comment'", name=op.f("ck_comment_outcome")),
        sa.CheckConstraint("parent_id <> message_id", name=op.f("ck_comment_parent")),
        sa.ForeignKeyConstraint(
            ["message_id", "outcome"],
            ["message.id", "message.outcome"],
            name=op.f("fk_comment_message_id_outcome"),
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["message.id"], name=op.f("fk_comment_parent_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_comment")),
    )
    op.create_index("ix_comment_parent_id", "comment", ["parent_id"], unique=False)
    op.create_table(
        "alias",
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("msgid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_alias_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", "msgid", name=op.f("pk_alias")),
    )
    op.create_index("ix_alias_msgid", "alias", ["msgid"], unique=False)
    op.create_table(
        "copy",
        sa.Column("mail_id", ID, autoincrement=False, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("rank", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.Column("asked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("chain", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_copy_mail_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_copy_message_id")),
        sa.PrimaryKeyConstraint("mail_id", name=op.f("pk_copy")),
    )
    op.create_index("ix_copy_message_id", "copy", ["message_id"], unique=False)
    op.create_table(
        "cover",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=8), server_default="cover", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefixes", sa.Text(), nullable=False),
        sa.Column("pull_url", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome = 'cover'", name=op.f("ck_cover_outcome")),
        sa.ForeignKeyConstraint(
            ["message_id", "outcome"],
            ["message.id", "message.outcome"],
            name=op.f("fk_cover_message_id_outcome"),
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_cover")),
    )
    op.create_index("ix_cover_name", "cover", [sa.text("substr(name, 1, 100)"), "message_id"])
    op.create_table(
        "dependency",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_dependency_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", "position", name=op.f("pk_dependency")),
    )
    op.create_index("ix_dependency_target", "dependency", ["target"], unique=False)
    op.create_table(
        "override",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("state_date", sa.DateTime(), nullable=True),
        sa.Column("state_account_id", ID, nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=True),
        sa.Column("commit_ref", sa.Text(), nullable=True),
        sa.Column("delegate_id", ID, nullable=True),
        sa.Column("no_delegate", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delegate_id"], ["account.id"], name=op.f("fk_override_delegate_id")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_override_message_id")
        ),
        sa.ForeignKeyConstraint(
            ["state_account_id"], ["account.id"], name=op.f("fk_override_state_account_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_override")),
    )
    op.create_table(
        "patch",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=8), server_default="patch", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefixes", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=40), nullable=True),
        sa.Column("patch_id", sa.String(length=40), nullable=True),
        sa.Column("pull_url", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("derived_delegate", sa.Text(), nullable=True),
        sa.Column("maintainers", sa.Text(), nullable=True),
        sa.Column("derived_state", sa.Text(), nullable=True),
        sa.Column("derived_commit_ref", sa.Text(), nullable=True),
        sa.Column("current_state", sa.Text(), nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("commit_ref", sa.Text(), nullable=True),
        sa.Column("delegate_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("outcome = 'patch'", name=op.f("ck_patch_outcome")),
        sa.ForeignKeyConstraint(
            ["message_id", "outcome"],
            ["message.id", "message.outcome"],
            name=op.f("fk_patch_message_id_outcome"),
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_patch")),
    )
    op.create_index(
        "ix_patch_derived_delegate",
        "patch",
        ["derived_delegate"],
        unique=False,
        postgresql_where=sa.text("derived_delegate IS NOT NULL"),
        sqlite_where=sa.text("derived_delegate IS NOT NULL"),
    )
    op.create_index("ix_patch_hash", "patch", ["hash", "message_id"], unique=False)
    op.create_index("ix_patch_name", "patch", [sa.text("substr(name, 1, 100)"), "message_id"])
    op.create_index("ix_patch_patch_id", "patch", ["patch_id"], unique=False)
    op.create_table(
        "posting",
        sa.Column("mail_id", ID, nullable=False),
        sa.Column("list_id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["list.id"], name=op.f("fk_posting_list_id")),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name=op.f("fk_posting_mail_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_posting_message_id")),
        sa.PrimaryKeyConstraint("mail_id", "list_id", name=op.f("pk_posting")),
    )
    op.create_index("ix_posting_list_id", "posting", ["list_id", "message_id"], unique=False)
    op.create_index("ix_posting_message_id", "posting", ["message_id"], unique=False)
    op.create_table(
        "relation",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_relation_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_relation")),
    )
    op.create_index("ix_relation_number", "relation", ["number"], unique=False)
    op.create_table(
        "revision_link",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("earlier_id", sa.BigInteger(), nullable=False),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "earlier_id", name=op.f("pk_revision_link")),
    )
    op.create_index("ix_revision_link_earlier_id", "revision_link", ["earlier_id"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("version_minor", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("received_total", sa.Integer(), nullable=False),
        sa.Column("received_all", sa.Boolean(), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=True),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("cover_id", ID, nullable=True),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("parent_series", sa.Text(), nullable=True),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.Column("fast_path_ok", sa.Boolean(), nullable=False),
        sa.Column("loose_crowd", sa.Boolean(), nullable=False),
        sa.CheckConstraint("received_total >= 0", name=op.f("ck_series_received_total")),
        sa.CheckConstraint("total >= 1", name=op.f("ck_series_total")),
        sa.CheckConstraint("version >= 0", name=op.f("ck_series_version")),
        sa.ForeignKeyConstraint(["cover_id"], ["message.id"], name=op.f("fk_series_cover_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_series_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("key", name=op.f("uq_series_key")),
    )
    op.create_index("ix_series_name", "series", [sa.text("substr(name, 1, 100)"), "id"])
    op.create_index("ix_series_cover_id", "series", ["cover_id"], unique=False)
    op.create_index(
        "ix_series_thread_id", "series", ["thread_id", "loose_crowd", "id"], unique=False
    )
    op.create_table(
        "state_evidence",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.Column("commit_ref", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_state_evidence_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", "kind", "source", name=op.f("pk_state_evidence")),
    )
    op.create_index("ix_state_evidence_source", "state_evidence", ["source"], unique=False)
    op.create_index(
        "ix_state_evidence_commit_ref",
        "state_evidence",
        ["commit_ref"],
        unique=False,
        postgresql_where=sa.text("commit_ref IS NOT NULL"),
        sqlite_where=sa.text("commit_ref IS NOT NULL"),
    )
    op.create_table(
        "announcement",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_announcement_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_announcement")),
    )
    op.create_table(
        "announcement_target",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_answered", sa.Boolean(), nullable=False),
        sa.Column("is_entitled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_announcement_target_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", "position", name=op.f("pk_announcement_target")),
    )
    op.create_index(
        "ix_announcement_target_target",
        "announcement_target",
        ["target", "is_entitled"],
        unique=False,
    )
    op.create_table(
        "trailer",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_trailer_message_id")),
        sa.PrimaryKeyConstraint("message_id", "position", name=op.f("pk_trailer")),
    )
    op.create_table(
        "member",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("minor", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.CheckConstraint("number >= 0", name=op.f("ck_member_number")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_member_message_id")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_member_series_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_member")),
        sa.UniqueConstraint(
            "series_id", "number", "minor", name=op.f("uq_member_series_id_number_minor")
        ),
    )
    op.create_table(
        "trace",
        sa.Column("trace", sa.BigInteger(), nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_trace_series_id")),
        sa.PrimaryKeyConstraint("trace", "series_id", name=op.f("pk_trace")),
    )
    op.create_index("ix_trace_series_id", "trace", ["series_id"], unique=False)
    op.create_table(
        "repository",
        sa.Column("id", ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("refs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repository")),
        sa.UniqueConstraint("path", "refs", name=op.f("uq_repository_path_refs")),
    )
    op.create_table(
        "maintainers_file",
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("sections", sa.Text(), nullable=False),
        sa.Column("assigned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("list_id", name=op.f("pk_maintainers_file")),
    )
    op.create_table(
        "repository_list",
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name=op.f("fk_repository_list_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "list_id", name=op.f("pk_repository_list")),
    )
    op.create_table(
        "scanned_ref",
        sa.Column("id", ID, nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tip", sa.String(length=64), nullable=True),
        sa.Column("targets", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name=op.f("fk_scanned_ref_repository_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scanned_ref")),
        sa.UniqueConstraint(
            "repository_id", "name", name=op.f("uq_scanned_ref_repository_id_name")
        ),
    )
    op.create_table(
        "git_commit",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.Column("author_name", sa.Text(), nullable=False),
        sa.Column("author_email", sa.Text(), nullable=False),
        sa.Column("author_date", sa.DateTime(), nullable=True),
        sa.Column("commit_date", sa.DateTime(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("links", sa.Text(), nullable=True),
        sa.Column("originals", sa.Text(), nullable=True),
        sa.Column("patch_id", sa.String(length=40), nullable=True),
        sa.Column("other_patch_ids", sa.Text(), nullable=True),
        sa.Column("sample", sa.LargeBinary(), nullable=True),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_git_commit")),
        sa.UniqueConstraint("sha", name=op.f("uq_git_commit_sha")),
    )
    op.create_index(
        "ix_git_commit_pending",
        "git_commit",
        ["id"],
        unique=False,
        postgresql_where=sa.text("pending IS true"),
        sqlite_where=sa.text("pending IS true"),
    )
    op.create_table(
        "ref_commit",
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("ref_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["git_commit.id"], name=op.f("fk_ref_commit_commit_id")
        ),
        sa.ForeignKeyConstraint(["ref_id"], ["scanned_ref.id"], name=op.f("fk_ref_commit_ref_id")),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name=op.f("fk_ref_commit_repository_id")
        ),
        sa.PrimaryKeyConstraint("commit_id", "repository_id", name=op.f("pk_ref_commit")),
    )
    op.create_index("ix_ref_commit_ref_id", "ref_commit", ["ref_id", "commit_id"], unique=False)
    op.create_table(
        "commit_key",
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["git_commit.id"], name=op.f("fk_commit_key_commit_id")
        ),
        sa.PrimaryKeyConstraint("key", "commit_id", name=op.f("pk_commit_key")),
    )
    op.create_index("ix_commit_key_commit_id", "commit_key", ["commit_id"], unique=False)
    op.create_table(
        "patch_key",
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("key", "message_id", name=op.f("pk_patch_key")),
    )
    op.create_index("ix_patch_key_message_id", "patch_key", ["message_id"], unique=False)
    op.create_table(
        "landing",
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("found_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["git_commit.id"], name=op.f("fk_landing_commit_id")
        ),
        sa.PrimaryKeyConstraint("commit_id", "list_id", name=op.f("pk_landing")),
    )
    op.create_index("ix_landing_message_id", "landing", ["message_id"], unique=False)
    op.create_table(
        "scan_status",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("has_patch_keys", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scan_status")),
    )
    _create_site_tables()


def _create_site_tables() -> None:
    op.create_table(
        "state",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("ordering", sa.Integer(), nullable=False),
        sa.Column("action_required", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state")),
        sa.UniqueConstraint("slug", name=op.f("uq_state_slug")),
    )
    op.create_table(
        "project",
        sa.Column("list_id", ID, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("link_name", sa.Text(), nullable=True),
        sa.Column("list_email", sa.Text(), nullable=True),
        sa.Column("web_url", sa.Text(), nullable=True),
        sa.Column("scm_url", sa.Text(), nullable=True),
        sa.Column("webscm_url", sa.Text(), nullable=True),
        sa.Column("list_archive_url", sa.Text(), nullable=True),
        sa.Column("list_archive_url_format", sa.Text(), nullable=True),
        sa.Column("commit_url_format", sa.Text(), nullable=True),
        sa.Column("subject_match", sa.Text(), nullable=True),
        sa.Column("use_tags", sa.Boolean(), nullable=True),
        sa.Column("show_dependencies", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["list_id"], ["list.id"], name=op.f("fk_project_list_id")),
        sa.PrimaryKeyConstraint("list_id", name=op.f("pk_project")),
    )
    op.create_table(
        "tag",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("abbrev", sa.Text(), nullable=False),
        sa.Column("show_column", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag")),
    )
    op.create_table(
        "bundle",
        sa.Column("id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("list_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_bundle_account_id")),
        sa.ForeignKeyConstraint(["list_id"], ["list.id"], name=op.f("fk_bundle_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_bundle_account_id_name")),
    )
    op.create_index("ix_bundle_list_id", "bundle", ["list_id"], unique=False)
    op.create_table(
        "bundle_patch",
        sa.Column("bundle_id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"], ["bundle.id"], name=op.f("fk_bundle_patch_bundle_id")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_bundle_patch_message_id")
        ),
        sa.PrimaryKeyConstraint("bundle_id", "message_id", name=op.f("pk_bundle_patch")),
    )
    op.create_index("ix_bundle_patch_message_id", "bundle_patch", ["message_id"], unique=False)
    op.create_table(
        "comment_mark",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("addressed", sa.Boolean(), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=True),
        sa.Column("account_id", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_comment_mark_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_comment_mark_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_comment_mark")),
    )
    op.create_table(
        "series_metadata",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "key", name=op.f("pk_series_metadata")),
    )
    op.create_index("ix_series_metadata_key", "series_metadata", ["key", "value"], unique=False)
    op.create_table(
        "list_record",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("list_id", ID, nullable=False),
        sa.Column("original_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["list.id"], name=op.f("fk_list_record_list_id")),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_list_record_message_id")
        ),
        sa.ForeignKeyConstraint(
            ["original_id"], ["message.id"], name=op.f("fk_list_record_original_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_list_record")),
        sa.UniqueConstraint(
            "original_id", "list_id", name=op.f("uq_list_record_original_id_list_id")
        ),
    )
    op.create_table(
        "imported",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("kind", "number", name=op.f("pk_imported")),
    )
    op.create_index("ix_imported_row_id", "imported", ["kind", "row_id"], unique=False)
    op.create_table(
        "reserved_number",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_reserved_number")),
    )
