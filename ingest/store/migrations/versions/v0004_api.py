"""What people say through the API, events, and the numbers of rows that are gone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("patch", sa.Column("standing", sa.Text(), nullable=True))
    op.add_column("patch", sa.Column("delegate_id", sa.BigInteger(), nullable=True))
    op.create_index("ix_mail_accepted", "mail", ["accepted"])
    # With the id behind it, so that a page of somebody's mails is read off in order.
    op.drop_index("ix_message_person_id", "message")
    op.create_index("ix_message_person_id", "message", ["person_id", "id"])
    stands = sa.text("coalesce(standing, state)")
    op.create_index("ix_patch_standing", "patch", [stands, "message_id"])
    for name, columns, condition in (
        ("archived", ["message_id"], "archived IS true"),
        ("delegate_id", ["delegate_id", "message_id"], "delegate_id IS NOT NULL"),
    ):
        op.create_index(
            f"ix_patch_{name}",
            "patch",
            columns,
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition.replace("true", "1")),
        )
    _said()
    _happened()


def _said() -> None:
    op.create_table(
        "account",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("lists", sa.Text(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "choice",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=True),
        sa.Column("commit_ref", sa.Text(), nullable=True),
        sa.Column("delegate_id", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["delegate_id"], ["account.id"], name=op.f("fk_choice_delegate_id")
        ),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_choice_message_id")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_choice")),
    )
    op.create_table(
        "relation",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_relation_message_id")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_relation")),
    )
    op.create_index("ix_relation_number", "relation", ["number"])
    op.create_table(
        "check",
        sa.Column("id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("target_url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'success', 'warning', 'fail')", name=op.f("ck_check_state")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_check_account_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_check_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check")),
    )
    op.create_index("ix_check_message_id", "check", ["message_id"])


def _happened() -> None:
    op.create_table(
        "gone",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("to_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_gone")),
    )
    op.create_index("ix_gone_key", "gone", ["kind", "key"])
    op.create_index("ix_gone_to_id", "gone", ["kind", "to_id"])
    op.create_table(
        "following",
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("since", name=op.f("pk_following")),
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
        sa.UniqueConstraint("number", name=op.f("uq_event_number")),
        sa.UniqueConstraint("category", "subject", name=op.f("uq_event_category_subject")),
    )
    op.create_index("ix_event_date", "event", ["date"])
    op.create_index("ix_event_category", "event", ["category", "number"])
    op.create_index("ix_event_message_id", "event", ["message_id"])
    op.create_index("ix_event_series_id", "event", ["series_id"])
    op.create_index(
        "ix_event_account_id",
        "event",
        ["account_id", "number"],
        postgresql_where=sa.text("account_id IS NOT NULL"),
        sqlite_where=sa.text("account_id IS NOT NULL"),
    )
    op.create_table(
        "hook",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_hook")),
    )
