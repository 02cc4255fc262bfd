"""jobs: one row a job, the truth about it."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, ForeignKey, Index, String, func, literal_column, text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Json
from ttm_jobs.models.project import Owned
from ttm_jobs.settings import DEFAULT_QUEUE
from ttm_jobs.states import JobState

# Written out, since neither database proves a bound value to be within the condition of a partial index.
WAITING = text("state = 'queued'")
HOLDING = text("state IN ('running', 'cancelling', 'pausing')")
BEGUN = text("started_at IS NOT NULL")
UNHELD_WITH_DEADLINE = text("state IN ('queued', 'paused') AND deadline_at IS NOT NULL")

_INDEXED_CHARACTERS = 200


def beginning(text_column: Any) -> ColumnElement[str]:
    """What of a text is indexed: PostgreSQL indexes none of any length. Two that are equal begin alike."""
    # Written out, since SQLite takes a bound value for another expression than the index's.
    return func.substr(text_column, literal_column("1"), literal_column(str(_INDEXED_CHARACTERS)))


def rest(text_column: Any) -> ColumnElement[str]:
    """What follows the beginning."""
    return func.substr(text_column, literal_column(str(_INDEXED_CHARACTERS + 1)))


class Job(Owned, Base):
    __tablename__ = "jobs"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    # In alphabetical order; `job_tags` has them too.
    tags: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    # The name that the submitting key had then; None where no key was needed.
    owner: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[JobState] = mapped_column()
    phase: Mapped[str | None] = mapped_column(String(32))

    # As submitted with the defaults filled in, and as it runs once the engine has decided every open field.
    spec: Mapped[Json] = mapped_column(JSON(none_as_null=True))
    resolved_spec: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # The names of the project's own that the spec was made from, with their versions: {"dataset": "dataset:pets@2"}.
    resolved_references: Mapped[Json] = mapped_column(JSON, default=dict, server_default="{}")
    # Of the spec, for lists: the teacher's and the dataset's address, the student's architecture, the method's kind.
    teacher: Mapped[str | None] = mapped_column(String(2048))
    student: Mapped[str] = mapped_column(String(128))
    dataset: Mapped[str] = mapped_column(String(2048))
    method: Mapped[str] = mapped_column(String(32))

    # step, total_steps, epoch, epochs, images_per_second, eta_seconds
    progress: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # The number of the event that told it.
    progress_event: Mapped[int | None]
    # The newest value of each metric by name; the accuracies are shares in [0, 1].
    latest: Mapped[Json] = mapped_column(JSON, default=dict)
    # What the engine reports at its end, without the list of artifacts.
    result: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # Why it failed: code, message, origin ("user" or "system"), retryable. Causes of single attempts are in `attempts`.
    failure: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))

    # 0 to 9, the highest first.
    priority: Mapped[int] = mapped_column()
    # Only workers that serve this queue, and whose device has this much memory, take the job.
    queue: Mapped[str] = mapped_column(String(64), default=DEFAULT_QUEUE, server_default=DEFAULT_QUEUE)
    device_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Attempts that count: a worker that was drained and a pause give theirs back.
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    # What its attempts that have ended took together, on one device each.
    device_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    # A job that has not ended by then fails.
    deadline_at: Mapped[datetime | None] = mapped_column()

    # The number of claims so far. Every write of a run names the epoch of its lease.
    lease_epoch: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(36))
    lease_until: Mapped[datetime | None] = mapped_column()
    heartbeat_at: Mapped[datetime | None]
    # Of the run's events under that lease, the number of the newest that was written: one sent twice is written once.
    last_event_seq: Mapped[int] = mapped_column(default=0)
    # A queued job is not claimed before this.
    not_before: Mapped[datetime | None]
    # When its newest ring was due; one that nobody answered is repeated.
    notified_at: Mapped[datetime] = mapped_column()

    created_at: Mapped[datetime] = mapped_column()
    queued_at: Mapped[datetime] = mapped_column()
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    # W3C Trace Context of the request that made the job, under which its attempts are traced.
    traceparent: Mapped[str | None] = mapped_column(String(64))
    # The number of the newest event of this job.
    last_event_number: Mapped[int] = mapped_column(default=0)
    # Grows with every change a reader can see; heartbeats are none.
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - read once by the mapper
    __table_args__ = (
        # Each list is one range of one of these, in the order in which it is shown.
        Index("ix_jobs_newest", "project_id", created_at.desc(), id.desc()),
        Index("ix_jobs_state_newest", "project_id", state, created_at.desc(), id.desc()),
        Index("ix_jobs_name_newest", "project_id", name, created_at.desc(), id.desc()),
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
        # The reaper's and the dispatcher's looks stay as small as what is running and waiting.
        # Without lease_until: PostgreSQL rewrites every index of a row when a column of one changes, and heartbeats are
        # what changes most.
        Index("ix_jobs_held", "project_id", sqlite_where=HOLDING, postgresql_where=HOLDING),
        # Whose turn it is, and which of a project's jobs is next.
        Index("ix_jobs_begun", "project_id", started_at.desc(), sqlite_where=BEGUN, postgresql_where=BEGUN),
        Index(
            "ix_jobs_waiting",
            queue,
            "project_id",
            priority.desc(),
            # Given back by a drained worker, or tried again, a job keeps its place.
            created_at,
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
        Index("ix_jobs_notified_at", queue, notified_at, sqlite_where=WAITING, postgresql_where=WAITING),
        Index(
            "ix_jobs_deadline_at",
            deadline_at,
            sqlite_where=UNHELD_WITH_DEADLINE,
            postgresql_where=UNHELD_WITH_DEADLINE,
        ),
        Index("ix_jobs_retry_of", retry_of),
    )
