"""What vouches for a sender: DNS's answers, verdicts, and what our own servers found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("message", sa.Column("rewriting", sa.String(16), nullable=True))
    op.add_column("message", sa.Column("undone", sa.String(20), nullable=True))
    op.add_column(
        "copy", sa.Column("asked", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("copy", sa.Column("chain", sa.String(16), nullable=True))
    op.create_table(
        "answer",
        sa.Column("mail_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.CheckConstraint("(kind = 'found') = (text IS NOT NULL)", name=op.f("ck_answer_text")),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name="fk_answer_mail_id"),
        sa.PrimaryKeyConstraint("mail_id", "name", name="pk_answer"),
    )
    op.create_table(
        "verdict",
        sa.Column("mail_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=True),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("canonicalisation", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("whole_body", sa.Boolean(), nullable=False),
        sa.Column("aligned", sa.String(8), nullable=False),
        sa.Column("key_bits", sa.Integer(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("judged", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name="fk_verdict_mail_id"),
        sa.PrimaryKeyConstraint("mail_id", "number", name="pk_verdict"),
    )
    op.create_table(
        "auth_result",
        sa.Column("mail_id", Id, nullable=False),
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
        sa.ForeignKeyConstraint(["mail_id"], ["mail.id"], name="fk_auth_result_mail_id"),
        sa.PrimaryKeyConstraint("mail_id", "position", name="pk_auth_result"),
    )
