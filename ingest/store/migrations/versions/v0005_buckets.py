"""An index of unthreaded pieces alone: nearly all messages have no bucket, and stood in it by their
dates, each batch of an archive on pages all over."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_message_bucket", "message")
    there = sa.text("bucket IS NOT NULL")
    op.create_index(
        "ix_message_bucket",
        "message",
        ["bucket", "date"],
        postgresql_where=there,
        sqlite_where=there,
    )
