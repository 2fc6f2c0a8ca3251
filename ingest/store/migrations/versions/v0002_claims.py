"""Claims: several daemons take mail from one queue, each what no other has in hand."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pending", sa.Column("claimed_until", sa.DateTime(), nullable=True))
    op.add_column("pending", sa.Column("claimed_by", sa.Text(), nullable=True))
    waiting = sa.text("reason IS NULL")
    op.create_index(
        "ix_pending_waiting",
        "pending",
        ["mail_id"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
