"""Who submitted a job, and when its numbers were told"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NEWEST = [sa.text("created_at DESC"), sa.text("id DESC")]


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner", sa.String(length=100), nullable=True))
    op.create_index("ix_jobs_owner_newest", "jobs", ["project_id", "owner", *_NEWEST])
    op.add_column("metrics", sa.Column("at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("metrics", "at")
    op.drop_index("ix_jobs_owner_newest", "jobs")
    op.drop_column("jobs", "owner")
