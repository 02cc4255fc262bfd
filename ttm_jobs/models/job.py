"""jobs: one row per job."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Enum,
    ForeignKey,
    Index,
    String,
    Text,
    false,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Json
from ttm_jobs.models.project import Owned
from ttm_jobs.settings import DEFAULT_QUEUE
from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import JobKind

# A literal: neither database matches a bound parameter with the condition of a partial index.
WAITING = text("state = 'queued'")
WAITING_FOR_ARCHITECTURES = text("state = 'queued' AND architectures IS NOT NULL")
HOLDING = text("state IN ('running', 'cancelling', 'pausing')")
BEGUN = text("started_at IS NOT NULL")
OF_STUDY = text("study_id IS NOT NULL")
ALONE = text("study_id IS NULL")
ENDED_ALONE = text("study_id IS NULL AND finished_at IS NOT NULL")
UNHELD_WITH_DEADLINE = text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL")

_INDEXED_CHARACTERS = 200


def beginning(text_column: Any) -> ColumnElement[str]:
    """The indexed beginning of a text column, because PostgreSQL limits the size of index entries."""
    # Literals: SQLite treats bound parameters as a different expression than the index's.
    return func.substr(text_column, literal_column("1"), literal_column(str(_INDEXED_CHARACTERS)))


def rest(text_column: Any) -> ColumnElement[str]:
    """The part of a text column after its indexed beginning."""
    return func.substr(text_column, literal_column(str(_INDEXED_CHARACTERS + 1)))


class Job(Owned, Base):
    __tablename__ = "jobs"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    # Sorted; also in `job_tags`.
    tags: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    # Name of the submitting API key; None without a key.
    owner: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[JobState] = mapped_column()
    phase: Mapped[str | None] = mapped_column(String(32))

    # The spec as submitted with defaults, and the resolved spec that runs.
    spec: Mapped[Json] = mapped_column(JSON(none_as_null=True))
    resolved_spec: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # Why the fields that the spec left open have their values, by path.
    resolved_reasons: Mapped[Json | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    # Registry references in the submitted spec with their versions: {"dataset": "dataset:pets@2"}.
    resolved_references: Mapped[Json] = mapped_column(JSON, default=dict, server_default="{}")
    # Copied from the spec for lists.
    teacher: Mapped[str | None] = mapped_column(String(2048))
    student: Mapped[str] = mapped_column(String(128))
    dataset: Mapped[str] = mapped_column(String(2048))
    method: Mapped[str] = mapped_column(String(32))

    # step, total_steps, epoch, epochs, images_per_second, eta_seconds
    progress: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # Number of its event.
    progress_event: Mapped[int | None]
    # Latest value of each metric: a copy of rows of `metrics`, so that lists show and sort by it without a join.
    # Accuracies are in [0, 1].
    latest: Mapped[Json] = mapped_column(JSON, default=dict)
    # The engine's final result without the list of artifacts.
    result: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # ModelStructure of the student, once the spec is resolved. Deferred: lists do not read pruning histories.
    student_structure: Mapped[Json | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    # The event `teacher_measured`: the check of the teacher before training. Deferred: lists show its accuracy only.
    teacher_check: Mapped[Json | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    # Why the job failed: code, message, origin ("user" or "system"), retryable. `attempts` has the causes of attempts.
    failure: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))

    # What the job does; only jobs of studies have other kinds than distill.
    kind: Mapped[JobKind] = mapped_column(
        Enum(
            JobKind,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        ),
        default=JobKind.DISTILL,
        server_default="distill",
    )
    # The place in a study: candidate (0: none), number of its seed, whether it trains on the labels alone, and rung.
    study_id: Mapped[str | None] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    candidate: Mapped[int] = mapped_column(default=0, server_default="0")
    study_seed: Mapped[int] = mapped_column(default=0, server_default="0")
    baseline: Mapped[bool] = mapped_column(default=False, server_default=false())
    rung: Mapped[int] = mapped_column(default=0, server_default="0")
    # The job pauses itself after this epoch. Best validation accuracy up to such epochs, by epoch.
    pause_after_epoch: Mapped[int | None]
    rung_accuracies: Mapped[Json] = mapped_column(JSON, default=dict, server_default="{}")

    # 0 to 9; higher runs first.
    priority: Mapped[int] = mapped_column()
    # The order of jobs of a project: twice the priority, plus one for jobs without a study, which go first.
    rank: Mapped[int] = mapped_column()
    # Only workers that serve the queue and have this kind of device (cpu or cuda; None: any), at least this number of
    # GPUs where they have GPUs, bfloat16 units in them if the job needs them, this device memory, and these
    # architectures of packages run the job.
    queue: Mapped[str] = mapped_column(String(64), default=DEFAULT_QUEUE, server_default=DEFAULT_QUEUE)
    device_kind: Mapped[str | None] = mapped_column(String(8))
    gpus: Mapped[int] = mapped_column(default=1, server_default="1")
    bfloat16: Mapped[bool] = mapped_column(default=False, server_default=false())
    device_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Keys separated by spaces (repositories/installed.py); None: only architectures of the service.
    architectures: Mapped[str | None] = mapped_column(Text)
    # Attempts that count against max_attempts; released and paused attempts do not.
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    # Total duration of ended attempts, and the start of the current one; None while none runs.
    device_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    attempt_started_at: Mapped[datetime | None]
    # The job fails at this time unless it has ended.
    deadline_at: Mapped[datetime | None] = mapped_column()

    # Number of claims. Every write of a run is fenced by its epoch.
    lease_epoch: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(36))
    lease_until: Mapped[datetime | None] = mapped_column()
    heartbeat_at: Mapped[datetime | None]
    # Sequence number of the last recorded event under the current lease, which deduplicates repeated writes.
    last_event_seq: Mapped[int] = mapped_column(default=0)
    # A queued job is not claimed before this time.
    not_before: Mapped[datetime | None]
    # When the last wake-up message was due; it is repeated if nobody claims the job.
    notified_at: Mapped[datetime] = mapped_column()

    created_at: Mapped[datetime] = mapped_column()
    queued_at: Mapped[datetime] = mapped_column()
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    cancel_requested_at: Mapped[datetime | None]

    # W3C Trace Context of the creating request; attempts join its trace.
    traceparent: Mapped[str | None] = mapped_column(String(64))
    # Number of the newest event.
    last_event_number: Mapped[int] = mapped_column(default=0)
    # Incremented by every visible change; heartbeats do not change it.
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - read once by the mapper
    __table_args__ = (
        # Each list reads one range of one of these indexes, in display order.
        Index("ix_jobs_newest", "project_id", created_at.desc(), id.desc()),
        Index("ix_jobs_state_newest", "project_id", state, created_at.desc(), id.desc()),
        Index("ix_jobs_owner_newest", "project_id", owner, created_at.desc(), id.desc()),
        Index(
            "ix_jobs_teacher_newest",
            "project_id",
            beginning(teacher),
            created_at.desc(),
            id.desc(),
        ),
        Index(
            "ix_jobs_dataset_newest",
            "project_id",
            beginning(dataset),
            created_at.desc(),
            id.desc(),
        ),
        # Partial indexes keep the queries of reaper and dispatcher proportional to running and queued jobs. Without
        # lease_until: PostgreSQL updates every index of a row when an indexed column changes, and heartbeats are the
        # most frequent change.
        Index("ix_jobs_held", "project_id", sqlite_where=HOLDING, postgresql_where=HOLDING),
        # Scheduling order of projects, and of the jobs of a project.
        Index("ix_jobs_begun", "project_id", started_at.desc(), sqlite_where=BEGUN, postgresql_where=BEGUN),
        Index(
            "ix_jobs_waiting",
            queue,
            "project_id",
            rank.desc(),
            # A released or retried job keeps its position.
            created_at,
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
        Index(
            "ix_jobs_architectures",
            # Not the text itself: PostgreSQL limits the size of index entries.
            queue,
            sqlite_where=WAITING_FOR_ARCHITECTURES,
            postgresql_where=WAITING_FOR_ARCHITECTURES,
        ),
        Index("ix_jobs_notified_at", queue, notified_at, sqlite_where=WAITING, postgresql_where=WAITING),
        Index(
            "ix_jobs_deadline_at",
            deadline_at,
            sqlite_where=UNHELD_WITH_DEADLINE,
            postgresql_where=UNHELD_WITH_DEADLINE,
        ),
        Index("ix_jobs_retry_of", retry_of),
        # With the state, so that the states of these jobs are counted without reading the rows.
        Index(
            "ix_jobs_alone_newest",
            "project_id",
            created_at.desc(),
            id.desc(),
            state,
            sqlite_where=ALONE,
            postgresql_where=ALONE,
        ),
        Index(
            "ix_jobs_ended_alone",
            "project_id",
            finished_at.desc(),
            id.desc(),
            sqlite_where=ENDED_ALONE,
            postgresql_where=ENDED_ALONE,
        ),
        # Also prevents two dispatchers from creating the same job.
        Index(
            "ix_jobs_study",
            study_id,
            kind,
            candidate,
            study_seed,
            baseline,
            unique=True,
            sqlite_where=OF_STUDY,
            postgresql_where=OF_STUDY,
        ),
        Index(
            "ix_jobs_study_newest",
            study_id,
            created_at.desc(),
            id.desc(),
            sqlite_where=OF_STUDY,
            postgresql_where=OF_STUDY,
        ),
    )
