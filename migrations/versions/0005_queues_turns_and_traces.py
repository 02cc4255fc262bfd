"""Queues, whose turn it is, and traces"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_WAITING = sa.text("state = 'queued'")
_HOLDING = sa.text("state IN ('running', 'cancelling', 'pausing')")
_BEGUN = sa.text("started_at IS NOT NULL")
_LEASED = sa.text("lease_until IS NOT NULL")


def _index(name: str, columns: Sequence[str | sa.TextClause], where: sa.TextClause) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("queue", sa.String(length=64), server_default="default", nullable=False))
    op.add_column("jobs", sa.Column("device_memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=64), nullable=True))
    op.add_column("workers", sa.Column("queues", sa.JSON(), server_default='["default"]', nullable=False))
    op.drop_index("ix_jobs_waiting", "jobs")
    op.drop_index("ix_jobs_lease_until", "jobs")
    _index("ix_jobs_held", ["project_id"], _HOLDING)
    _index("ix_jobs_begun", ["project_id", sa.text("started_at DESC")], _BEGUN)
    _index("ix_jobs_waiting", ["queue", "project_id", sa.text("priority DESC"), "created_at"], _WAITING)
    _index("ix_jobs_rung_at", ["queue", "rung_at"], _WAITING)


def downgrade() -> None:
    for index in ("ix_jobs_rung_at", "ix_jobs_waiting", "ix_jobs_begun", "ix_jobs_held"):
        op.drop_index(index, "jobs")
    _index("ix_jobs_lease_until", ["lease_until"], _LEASED)
    _index("ix_jobs_waiting", [sa.text("priority DESC"), "queued_at"], _WAITING)
    op.drop_column("workers", "queues")
    for column in ("traceparent", "device_memory_bytes", "queue"):
        op.drop_column("jobs", column)
