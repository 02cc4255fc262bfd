"""Projects, keys, repeated requests, tags, and an index for each list"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TIME = sa.DateTime(timezone=True)
_NEWEST = [sa.text("created_at DESC"), sa.text("id DESC")]


def _project_id() -> sa.Column[str]:
    # What was there before belongs to the default project.
    return sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False)


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("max_running_jobs", sa.Integer(), nullable=True),
        sa.Column("max_queued_jobs", sa.Integer(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_device_hours", sa.Double(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.execute(sa.insert(projects).values(id="default", created_at=sa.func.current_timestamp()))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.Column("last_used_at", _TIME, nullable=True),
        _project_id(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index("ix_api_keys_project_id", "api_keys", ["project_id", "created_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "job_tags",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        _project_id(),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_tags_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tags")),
    )
    op.create_index(
        "ix_job_tags_newest", "job_tags", ["project_id", "tag", sa.text("created_at DESC"), sa.text("job_id DESC")]
    )

    op.create_table(
        "server_secrets",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_secrets")),
    )

    op.add_column("jobs", _project_id())
    op.add_column("jobs", sa.Column("tags", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("jobs", sa.Column("device_seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("uploads", _project_id())
    op.drop_index("ix_jobs_newest", "jobs")
    op.drop_index("ix_jobs_state_newest", "jobs")
    op.drop_index("ix_uploads_newest", "uploads")
    op.create_index("ix_jobs_newest", "jobs", ["project_id", *_NEWEST])
    op.create_index("ix_jobs_state_newest", "jobs", ["project_id", "state", *_NEWEST])
    op.create_index("ix_jobs_name_newest", "jobs", ["project_id", "name", *_NEWEST])
    op.create_index("ix_jobs_teacher_newest", "jobs", ["project_id", sa.text("substr(teacher, 1, 200)"), *_NEWEST])
    op.create_index("ix_jobs_dataset_newest", "jobs", ["project_id", sa.text("substr(dataset, 1, 200)"), *_NEWEST])
    op.create_index("ix_uploads_newest", "uploads", ["project_id", *_NEWEST])


def downgrade() -> None:
    for index, table in (
        ("ix_uploads_newest", "uploads"),
        ("ix_jobs_dataset_newest", "jobs"),
        ("ix_jobs_teacher_newest", "jobs"),
        ("ix_jobs_name_newest", "jobs"),
        ("ix_jobs_state_newest", "jobs"),
        ("ix_jobs_newest", "jobs"),
    ):
        op.drop_index(index, table)
    op.drop_column("uploads", "project_id")
    for column in ("device_seconds", "tags", "project_id"):
        op.drop_column("jobs", column)
    op.create_index("ix_uploads_newest", "uploads", _NEWEST)
    op.create_index("ix_jobs_state_newest", "jobs", ["state", *_NEWEST])
    op.create_index("ix_jobs_newest", "jobs", _NEWEST)
    for table in ("server_secrets", "job_tags", "idempotency_keys", "api_keys", "projects"):
        op.drop_table(table)
