"""Deadlines, and the causes and steps of attempts"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_UNHELD_WITH_DEADLINE = sa.text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_jobs_deadline_at",
        "jobs",
        ["deadline_at"],
        sqlite_where=_UNHELD_WITH_DEADLINE,
        postgresql_where=_UNHELD_WITH_DEADLINE,
    )
    op.add_column("attempts", sa.Column("origin", sa.String(length=8), nullable=True))
    op.add_column("attempts", sa.Column("retryable", sa.Boolean(), nullable=True))
    op.add_column("attempts", sa.Column("from_step", sa.BigInteger(), nullable=True))
    op.add_column("attempts", sa.Column("to_step", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for column in ("to_step", "from_step", "retryable", "origin"):
        op.drop_column("attempts", column)
    op.drop_index("ix_jobs_deadline_at", "jobs")
    op.drop_column("jobs", "deadline_at")
