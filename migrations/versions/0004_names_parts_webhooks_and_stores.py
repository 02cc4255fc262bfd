"""Named teachers and datasets, uploads in parts, webhooks, and where the teachers' logits lie"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TIME = sa.DateTime(timezone=True)


def _project_id() -> sa.Column[str]:
    return sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False)


def upgrade() -> None:
    op.create_table(
        "definitions",
        _project_id(),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("project_id", "kind", "name", "version", name=op.f("pk_definitions")),
    )
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_parts_upload_id_uploads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_parts")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=True),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("old_secret", sa.String(length=128), nullable=True),
        sa.Column("old_secret_until", _TIME, nullable=True),
        sa.Column("failing_since", _TIME, nullable=True),
        sa.Column("disabled_at", _TIME, nullable=True),
        sa.Column("disabled_reason", sa.String(length=200), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        _project_id(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_project_id", "webhooks", ["project_id", "created_at"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("tried_at", _TIME, nullable=True),
        sa.Column("next_at", _TIME, nullable=True),
        _project_id(),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_newest",
        "webhook_deliveries",
        ["webhook_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_table(
        "teacher_stores",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("place", sa.String(length=512), nullable=False),
        sa.Column("encoding", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("used_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", "hostname", "place", name=op.f("pk_teacher_stores")),
    )
    op.create_index("ix_teacher_stores_place", "teacher_stores", ["hostname", "place"])
    op.create_index("ix_teacher_stores_seen_at", "teacher_stores", ["seen_at"])
    op.create_table(
        "teacher_store_uses",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("filled", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        _project_id(),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_teacher_store_uses_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "digest", name=op.f("pk_teacher_store_uses")),
    )
    op.create_index("ix_teacher_store_uses_digest", "teacher_store_uses", ["project_id", "digest"])

    op.add_column("jobs", sa.Column("named", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("uploads", sa.Column("received", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("uploads", sa.Column("active_at", _TIME, nullable=True))
    op.drop_index("ix_outbox_next_at", "outbox")
    op.create_index("ix_outbox_next_at", "outbox", ["topic", "next_at", "id"])


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE topic <> 'ring'")
    op.drop_index("ix_outbox_next_at", "outbox")
    op.create_index("ix_outbox_next_at", "outbox", ["next_at", "id"])
    op.drop_column("uploads", "active_at")
    op.drop_column("uploads", "received")
    op.drop_column("jobs", "named")
    for table in (
        "teacher_store_uses",
        "teacher_stores",
        "webhook_deliveries",
        "webhooks",
        "upload_parts",
        "definitions",
    ):
        op.drop_table(table)
