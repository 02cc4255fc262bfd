"""initial schema"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TIME = sa.DateTime(timezone=True)

# Substring search in job names, see ttm_jobs/database/name_search.py.
_POSTGRESQL_NAME_SEARCH = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_jobs_name_trigrams ON jobs USING gin (name gin_trgm_ops)",
)
_SQLITE_NAME_SEARCH = (
    "CREATE TABLE job_names (number INTEGER PRIMARY KEY, job_id VARCHAR(36) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE job_name_search USING fts5(name, tokenize = 'trigram')",
    """CREATE TRIGGER job_names_insert AFTER INSERT ON jobs WHEN new.name IS NOT NULL BEGIN
        INSERT INTO job_names (job_id) VALUES (new.id);
        INSERT INTO job_name_search (rowid, name) SELECT number, new.name FROM job_names WHERE job_id = new.id;
    END""",
    """CREATE TRIGGER job_names_update AFTER UPDATE OF name ON jobs WHEN old.name IS NOT new.name BEGIN
        DELETE FROM job_name_search WHERE rowid = (SELECT number FROM job_names WHERE job_id = new.id);
        INSERT OR IGNORE INTO job_names (job_id) VALUES (new.id);
        INSERT INTO job_name_search (rowid, name)
            SELECT number, new.name FROM job_names WHERE job_id = new.id AND new.name IS NOT NULL;
    END""",
    """CREATE TRIGGER job_names_delete AFTER DELETE ON jobs BEGIN
        DELETE FROM job_name_search WHERE rowid = (SELECT number FROM job_names WHERE job_id = old.id);
        DELETE FROM job_names WHERE job_id = old.id;
    END""",
)


# The audit log is append-only. Rows past their retention are deleted, never changed.
_POSTGRESQL_AUDIT = (
    """CREATE FUNCTION refuse_audit_update() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit_entries is append-only'; END $$""",
    """CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries
        FOR EACH ROW EXECUTE FUNCTION refuse_audit_update()""",
)
_SQLITE_AUDIT = (
    """CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries BEGIN
        SELECT RAISE(ABORT, 'audit_entries is append-only');
    END""",
)

# Stored bytes of projects, see ttm_jobs/models/project_storage.py. Foreign keys delete the files of deleted jobs. Their
# triggers no longer find the job's project, so the job's own trigger subtracts them.
_POSTGRESQL_STORED_BYTES = (
    """CREATE FUNCTION add_stored_bytes(project varchar, bytes bigint) RETURNS void LANGUAGE sql AS $$
        INSERT INTO project_storage (project_id, shard, size)
        SELECT project, pg_backend_pid() % 16, bytes WHERE bytes <> 0
        ON CONFLICT (project_id, shard) DO UPDATE SET size = project_storage.size + excluded.size $$""",
    """CREATE FUNCTION count_upload() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN
            PERFORM add_stored_bytes(old.project_id, -coalesce(old.size, 0));
        ELSIF TG_OP = 'INSERT' THEN
            PERFORM add_stored_bytes(new.project_id, coalesce(new.size, 0));
        ELSE
            PERFORM add_stored_bytes(new.project_id, coalesce(new.size, 0) - coalesce(old.size, 0));
        END IF;
        RETURN NULL; END $$""",
    """CREATE FUNCTION count_file() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN
            PERFORM add_stored_bytes(project_id, -old.size) FROM jobs WHERE id = old.job_id;
        ELSIF TG_OP = 'INSERT' THEN
            PERFORM add_stored_bytes(project_id, new.size) FROM jobs WHERE id = new.job_id;
        ELSE
            PERFORM add_stored_bytes(project_id, new.size - old.size) FROM jobs WHERE id = new.job_id;
        END IF;
        RETURN NULL; END $$""",
    """CREATE FUNCTION count_deleted_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM add_stored_bytes(old.project_id, -(
            coalesce((SELECT sum(size) FROM artifacts WHERE job_id = old.id), 0)
            + coalesce((SELECT sum(size) FROM checkpoints WHERE job_id = old.id), 0))::bigint);
        RETURN old; END $$""",
    """CREATE TRIGGER stored_bytes AFTER INSERT OR DELETE OR UPDATE OF size ON uploads
        FOR EACH ROW EXECUTE FUNCTION count_upload()""",
    *(
        f"""CREATE TRIGGER stored_bytes AFTER INSERT OR DELETE OR UPDATE OF size ON {table}
            FOR EACH ROW EXECUTE FUNCTION count_file()"""
        for table in ("artifacts", "checkpoints")
    ),
    "CREATE TRIGGER stored_bytes BEFORE DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION count_deleted_job()",
)


def _sqlite_stored_bytes() -> list[str]:
    def trigger(name: str, event: str, project: str, size: str) -> str:
        # "WHERE true": otherwise SQLite reads ON as part of a join.
        return f"""CREATE TRIGGER stored_bytes_{name} {event} BEGIN
            INSERT INTO project_storage (project_id, shard, size) SELECT project_id, 0, {size} FROM {project}
            ON CONFLICT (project_id, shard) DO UPDATE SET size = size + excluded.size;
        END"""

    def triggers(table: str, project: str) -> list[str]:
        return [
            trigger(f"{table}_insert", f"AFTER INSERT ON {table}", project.format("new"), "coalesce(new.size, 0)"),
            trigger(f"{table}_delete", f"AFTER DELETE ON {table}", project.format("old"), "-coalesce(old.size, 0)"),
            trigger(
                f"{table}_update",
                f"AFTER UPDATE OF size ON {table}",
                project.format("new"),
                "coalesce(new.size, 0) - coalesce(old.size, 0)",
            ),
        ]

    files = " + ".join(
        f"coalesce((SELECT sum(size) FROM {table} WHERE job_id = old.id), 0)" for table in ("artifacts", "checkpoints")
    )
    own = "(SELECT {}.project_id AS project_id) WHERE true"
    return [
        *triggers("uploads", own),
        *triggers("artifacts", "jobs WHERE id = {}.job_id"),
        *triggers("checkpoints", "jobs WHERE id = {}.job_id"),
        trigger("jobs_delete", "BEFORE DELETE ON jobs", own.format("old"), f"-({files})"),
    ]


def upgrade() -> None:
    _create_audit_log()
    _create_sessions()
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
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
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
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("resolved_references", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("decisions", sa.JSON(), nullable=False),
        sa.Column("stopped_at_rung", sa.Integer(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.Column("blocked_reason", sa.String(length=500), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("device_kind", sa.String(length=8), nullable=True),
        sa.Column("device_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("architectures", sa.Text(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("deadline_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("last_event_number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
    )
    op.create_index("ix_studies_newest", "studies", ["project_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index(
        "ix_studies_state_newest", "studies", ["project_id", "state", sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index("ix_studies_name", "studies", ["project_id", "name"])
    op.create_table(
        "study_candidates",
        sa.Column("study_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("student", sa.JSON(), nullable=False),
        sa.Column("search_values", sa.JSON(), nullable=False),
        sa.Column("screen", sa.JSON(), nullable=True),
        sa.Column("rejected", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_candidates_study_id_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_study_candidates")),
    )
    op.create_table(
        "study_events",
        sa.Column("study_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_events_study_id_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_study_events")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("tags", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("resolved_spec", sa.JSON(), nullable=True),
        sa.Column("resolved_reasons", sa.JSON(), nullable=True),
        sa.Column("resolved_references", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("teacher", sa.String(length=2048), nullable=True),
        sa.Column("student", sa.String(length=128), nullable=False),
        sa.Column("dataset", sa.String(length=2048), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("progress_event", sa.Integer(), nullable=True),
        sa.Column("latest", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("student_structure", sa.JSON(), nullable=True),
        sa.Column("teacher_check", sa.JSON(), nullable=True),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.Column("retry_of", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=16), server_default="distill", nullable=False),
        sa.Column("study_id", sa.String(length=36), nullable=True),
        sa.Column("candidate", sa.Integer(), server_default="0", nullable=False),
        sa.Column("study_seed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("baseline", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("rung", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pause_after_epoch", sa.Integer(), nullable=True),
        sa.Column("rung_accuracies", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("device_kind", sa.String(length=8), nullable=True),
        sa.Column("gpus", sa.Integer(), server_default="1", nullable=False),
        sa.Column("bfloat16", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("device_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("architectures", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("device_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("attempt_started_at", _TIME, nullable=True),
        sa.Column("deadline_at", _TIME, nullable=True),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=36), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("heartbeat_at", _TIME, nullable=True),
        sa.Column("last_event_seq", sa.Integer(), nullable=False),
        sa.Column("not_before", _TIME, nullable=True),
        sa.Column("notified_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("queued_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("cancel_requested_at", _TIME, nullable=True),
        sa.Column("traceparent", sa.String(length=64), nullable=True),
        sa.Column("last_event_number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_jobs_study_id_studies"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["retry_of"], ["jobs.id"], name=op.f("fk_jobs_retry_of_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_begun",
        "jobs",
        ["project_id", sa.text("started_at DESC")],
        sqlite_where=sa.text("started_at IS NOT NULL"),
        postgresql_where=sa.text("started_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_deadline_at",
        "jobs",
        ["deadline_at"],
        sqlite_where=sa.text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL"),
        postgresql_where=sa.text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_held",
        "jobs",
        ["project_id"],
        sqlite_where=sa.text("state IN ('running', 'cancelling', 'pausing')"),
        postgresql_where=sa.text("state IN ('running', 'cancelling', 'pausing')"),
    )
    op.create_index("ix_jobs_newest", "jobs", ["project_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index(
        "ix_jobs_notified_at",
        "jobs",
        ["queue", "notified_at"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_jobs_owner_newest", "jobs", ["project_id", "owner", sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"])
    op.create_index(
        "ix_jobs_study",
        "jobs",
        ["study_id", "kind", "candidate", "study_seed", "baseline"],
        unique=True,
        sqlite_where=sa.text("study_id IS NOT NULL"),
        postgresql_where=sa.text("study_id IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_alone_newest",
        "jobs",
        ["project_id", sa.text("created_at DESC"), sa.text("id DESC"), "state"],
        sqlite_where=sa.text("study_id IS NULL"),
        postgresql_where=sa.text("study_id IS NULL"),
    )
    op.create_index(
        "ix_jobs_ended_alone",
        "jobs",
        ["project_id", sa.text("finished_at DESC"), sa.text("id DESC")],
        sqlite_where=sa.text("study_id IS NULL AND finished_at IS NOT NULL"),
        postgresql_where=sa.text("study_id IS NULL AND finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_study_newest",
        "jobs",
        ["study_id", sa.text("created_at DESC"), sa.text("id DESC")],
        sqlite_where=sa.text("study_id IS NOT NULL"),
        postgresql_where=sa.text("study_id IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_state_newest", "jobs", ["project_id", "state", sa.text("created_at DESC"), sa.text("id DESC")]
    )
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["queue", "project_id", sa.text("rank DESC"), "created_at"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_jobs_architectures",
        "jobs",
        ["queue"],
        sqlite_where=sa.text("state = 'queued' AND architectures IS NOT NULL"),
        postgresql_where=sa.text("state = 'queued' AND architectures IS NOT NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("topic", sa.String(length=32), nullable=False),
        sa.Column("lane", sa.String(length=128), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_due", "outbox", ["topic", "lane", "next_attempt_at", "id"])
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("max_running_jobs", sa.Integer(), nullable=True),
        sa.Column("max_queued_jobs", sa.Integer(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_device_hours", sa.Double(), nullable=True),
        sa.Column("sources", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.execute(sa.insert(projects).values(id="default", created_at=sa.func.current_timestamp()))
    op.create_table(
        "registry_entries",
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("project_id", "kind", "name", "version", name=op.f("pk_registry_entries")),
    )
    op.create_table(
        "saved_views",
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("page", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("query", sa.String(length=2000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "page", "name", name=op.f("pk_saved_views")),
    )
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_secrets")),
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
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", "hostname", "place", name=op.f("pk_teacher_stores")),
    )
    op.create_index("ix_teacher_stores_last_seen_at", "teacher_stores", ["last_seen_at"])
    op.create_index("ix_teacher_stores_place", "teacher_stores", ["hostname", "place"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=True),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("active_at", _TIME, nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("completed_at", _TIME, nullable=True),
        sa.Column("finalizing_until", _TIME, nullable=True),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(
        "ix_uploads_finalizing",
        "uploads",
        ["finalizing_until"],
        sqlite_where=sa.text("state = 'finalizing'"),
        postgresql_where=sa.text("state = 'finalizing'"),
    )
    op.create_index("ix_uploads_newest", "uploads", ["project_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_secret_until", _TIME, nullable=True),
        sa.Column("failing_since", _TIME, nullable=True),
        sa.Column("disabled_at", _TIME, nullable=True),
        sa.Column("disabled_reason", sa.String(length=200), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_project_id", "webhooks", ["project_id", "created_at"])
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("queues", sa.JSON(), server_default='["default"]', nullable=False),
        sa.Column("architectures", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index("ix_workers_last_seen_at", "workers", ["last_seen_at"])
    op.create_table(
        "artifacts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_artifacts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=36), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("origin", sa.String(length=8), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=True),
        sa.Column("from_step", sa.BigInteger(), nullable=True),
        sa.Column("to_step", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "lease_epoch", name=op.f("pk_attempts")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("best", sa.Boolean(), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_checkpoints_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "step", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_job_events")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_job_events_history",
        "job_events",
        ["job_id", "number"],
        sqlite_where=sa.text("kind IN ('state', 'phase')"),
        postgresql_where=sa.text("kind IN ('state', 'phase')"),
    )
    op.create_table(
        "project_streams",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("last_event_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_streams")),
    )
    op.create_table(
        "project_events",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("study_id", sa.String(length=36), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_project_events_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_project_events_study_id_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "number", name=op.f("pk_project_events")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_project_events_job_id"), "project_events", ["job_id"])
    op.create_index(op.f("ix_project_events_study_id"), "project_events", ["study_id"])
    op.create_table(
        "job_tags",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_tags_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tags")),
    )
    op.create_index(
        "ix_job_tags_newest", "job_tags", ["project_id", "tag", sa.text("created_at DESC"), sa.text("job_id DESC")]
    )
    op.create_table(
        "metrics",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metrics_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", "step", name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "teacher_store_uses",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), nullable=False),
        sa.Column("forwards", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_teacher_store_uses_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "digest", name=op.f("pk_teacher_store_uses")),
    )
    op.create_index("ix_teacher_store_uses_digest", "teacher_store_uses", ["project_id", "digest"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_parts_upload_id_uploads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_parts")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_attempt_at", _TIME, nullable=True),
        sa.Column("next_attempt_at", _TIME, nullable=True),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id_webhooks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_newest",
        "webhook_deliveries",
        ["webhook_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index(
        "ix_jobs_teacher_newest",
        "jobs",
        ["project_id", sa.text("substr(teacher, 1, 200)"), sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_index(
        "ix_jobs_dataset_newest",
        "jobs",
        ["project_id", sa.text("substr(dataset, 1, 200)"), sa.text("created_at DESC"), sa.text("id DESC")],
    )
    for statement in _POSTGRESQL_NAME_SEARCH if op.get_bind().dialect.name == "postgresql" else _SQLITE_NAME_SEARCH:
        op.execute(statement)
    _create_measurement_tables()
    _create_project_storage()


def _create_measurement_tables() -> None:
    op.create_table(
        "devices",
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("cpu", sa.String(length=200), nullable=True),
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_devices")),
    )
    op.create_table(
        "measurements",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("artifact", sa.String(length=200), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("runtime", sa.String(length=32), nullable=False),
        sa.Column("runtime_version", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("threads", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("cpu", sa.String(length=200), nullable=False),
        sa.Column("precision", sa.String(length=16), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("p50_ms", sa.Double(), nullable=False),
        sa.Column("p90_ms", sa.Double(), nullable=False),
        sa.Column("throughput", sa.Double(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("relative_error", sa.Double(), nullable=False),
        sa.Column("load_ms", sa.Double(), nullable=False),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=True),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_measurements_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(
            "job_id",
            "artifact",
            "device",
            "runtime",
            "runtime_version",
            "batch",
            "threads",
            name=op.f("pk_measurements"),
        ),
    )
    op.create_index("ix_measurements_device", "measurements", ["project_id", "device"])
    op.create_table(
        "measurement_requests",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("artifact", sa.String(length=200), nullable=True),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("claimed_at", _TIME, nullable=True),
        sa.Column("lease_expires_at", _TIME, nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_measurement_requests_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurement_requests")),
    )
    op.create_index("ix_measurement_requests_job_id", "measurement_requests", ["job_id"])
    op.create_index(
        "ix_measurement_requests_device",
        "measurement_requests",
        ["project_id", "device", "state", "created_at", "id"],
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=True),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("actor", sa.String(length=100), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=512), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_newest", "audit_entries", ["project_id", "id"])
    op.create_index("ix_audit_entries_created_at", "audit_entries", ["created_at"])
    for statement in _POSTGRESQL_AUDIT if op.get_bind().dialect.name == "postgresql" else _SQLITE_AUDIT:
        op.execute(statement)


def _create_sessions() -> None:
    op.create_table(
        "sign_in_sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=True),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=True),
        sa.Column("state_sha256", sa.String(length=64), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sign_in_sessions")),
        sa.UniqueConstraint("state_sha256", name=op.f("uq_sign_in_sessions_state_sha256")),
    )
    op.create_index("ix_sign_in_sessions_expires_at", "sign_in_sessions", ["expires_at"])
    op.create_table(
        "sign_in_failures",
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_sign_in_failures")),
    )
    op.create_index("ix_sign_in_failures_since", "sign_in_failures", ["since"])


def _drop_audit_log() -> None:
    op.drop_index("ix_audit_entries_created_at", table_name="audit_entries")
    op.drop_index("ix_audit_entries_newest", table_name="audit_entries")
    op.drop_table("audit_entries")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_audit_update()")


def _drop_measurement_tables() -> None:
    op.drop_index("ix_measurement_requests_device", table_name="measurement_requests")
    op.drop_index("ix_measurement_requests_job_id", table_name="measurement_requests")
    op.drop_table("measurement_requests")
    op.drop_index("ix_measurements_device", table_name="measurements")
    op.drop_table("measurements")
    op.drop_table("devices")


def _create_project_storage() -> None:
    op.create_table(
        "project_storage",
        sa.Column("project_id", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "shard", name=op.f("pk_project_storage")),
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRESQL_STORED_BYTES if postgresql else _sqlite_stored_bytes():
        op.execute(statement)


def _drop_project_storage() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in ("jobs", "checkpoints", "artifacts", "uploads"):
            op.execute(f"DROP TRIGGER stored_bytes ON {table}")
        for function in ("count_deleted_job()", "count_file()", "count_upload()", "add_stored_bytes(varchar, bigint)"):
            op.execute(f"DROP FUNCTION {function}")
    else:
        op.execute("DROP TRIGGER stored_bytes_jobs_delete")
        for table in ("checkpoints", "artifacts", "uploads"):
            for event in ("insert", "delete", "update"):
                op.execute(f"DROP TRIGGER stored_bytes_{table}_{event}")
    op.drop_table("project_storage")


def downgrade() -> None:
    _drop_project_storage()
    op.drop_index("ix_sign_in_failures_since", table_name="sign_in_failures")
    op.drop_table("sign_in_failures")
    op.drop_index("ix_sign_in_sessions_expires_at", table_name="sign_in_sessions")
    op.drop_table("sign_in_sessions")
    _drop_audit_log()
    _drop_measurement_tables()
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_jobs_name_trigrams", table_name="jobs")
    else:
        for trigger in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER job_names_{trigger}")
        op.drop_table("job_name_search")
        op.drop_table("job_names")
    op.drop_index("ix_webhook_deliveries_newest", table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_table("upload_parts")
    op.drop_index("ix_teacher_store_uses_digest", table_name="teacher_store_uses")
    op.drop_table("teacher_store_uses")
    op.drop_table("metrics")
    op.drop_index("ix_job_tags_newest", table_name="job_tags")
    op.drop_table("job_tags")
    op.drop_index(op.f("ix_project_events_study_id"), table_name="project_events")
    op.drop_index(op.f("ix_project_events_job_id"), table_name="project_events")
    op.drop_table("project_events")
    op.drop_table("project_streams")
    op.drop_index(
        "ix_job_events_history",
        table_name="job_events",
        sqlite_where=sa.text("kind IN ('state', 'phase')"),
        postgresql_where=sa.text("kind IN ('state', 'phase')"),
    )
    op.drop_table("job_events")
    op.drop_table("checkpoints")
    op.drop_table("attempts")
    op.drop_table("artifacts")
    op.drop_index("ix_workers_last_seen_at", table_name="workers")
    op.drop_table("workers")
    op.drop_index("ix_webhooks_project_id", table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_index("ix_uploads_newest", table_name="uploads")
    op.drop_table("uploads")
    op.drop_index("ix_teacher_stores_place", table_name="teacher_stores")
    op.drop_index("ix_teacher_stores_last_seen_at", table_name="teacher_stores")
    op.drop_table("teacher_stores")
    op.drop_table("server_secrets")
    op.drop_table("saved_views")
    op.drop_table("registry_entries")
    op.drop_table("projects")
    op.drop_index("ix_outbox_due", table_name="outbox")
    op.drop_table("outbox")
    op.drop_index(
        "ix_jobs_architectures",
        table_name="jobs",
        sqlite_where=sa.text("state = 'queued' AND architectures IS NOT NULL"),
        postgresql_where=sa.text("state = 'queued' AND architectures IS NOT NULL"),
    )
    op.drop_index(
        "ix_jobs_waiting",
        table_name="jobs",
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index(
        "ix_jobs_alone_newest",
        table_name="jobs",
        sqlite_where=sa.text("study_id IS NULL"),
        postgresql_where=sa.text("study_id IS NULL"),
    )
    op.drop_index(
        "ix_jobs_ended_alone",
        table_name="jobs",
        sqlite_where=sa.text("study_id IS NULL AND finished_at IS NOT NULL"),
        postgresql_where=sa.text("study_id IS NULL AND finished_at IS NOT NULL"),
    )
    for name in ("ix_jobs_study_newest", "ix_jobs_study"):
        op.drop_index(
            name,
            table_name="jobs",
            sqlite_where=sa.text("study_id IS NOT NULL"),
            postgresql_where=sa.text("study_id IS NOT NULL"),
        )
    op.drop_index("ix_jobs_state_newest", table_name="jobs")
    op.drop_index("ix_jobs_retry_of", table_name="jobs")
    op.drop_index("ix_jobs_owner_newest", table_name="jobs")
    op.drop_index(
        "ix_jobs_notified_at",
        table_name="jobs",
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index("ix_jobs_newest", table_name="jobs")
    op.drop_index(
        "ix_jobs_held",
        table_name="jobs",
        sqlite_where=sa.text("state IN ('running', 'cancelling', 'pausing')"),
        postgresql_where=sa.text("state IN ('running', 'cancelling', 'pausing')"),
    )
    op.drop_index(
        "ix_jobs_deadline_at",
        table_name="jobs",
        sqlite_where=sa.text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL"),
        postgresql_where=sa.text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_jobs_begun",
        table_name="jobs",
        sqlite_where=sa.text("started_at IS NOT NULL"),
        postgresql_where=sa.text("started_at IS NOT NULL"),
    )
    op.drop_table("jobs")
    op.drop_table("study_events")
    op.drop_table("study_candidates")
    op.drop_index("ix_studies_name", table_name="studies")
    op.drop_index("ix_studies_state_newest", table_name="studies")
    op.drop_index("ix_studies_newest", table_name="studies")
    op.drop_table("studies")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_api_keys_project_id", table_name="api_keys")
    op.drop_table("api_keys")
