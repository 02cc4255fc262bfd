"""studies, study_candidates and study_events. A study's jobs are rows of `jobs` with its `study_id`."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Json
from ttm_jobs.models.project import Owned
from ttm_jobs.settings import DEFAULT_QUEUE
from ttm_jobs.studies.states import StudyState


class Study(Owned, Base):
    __tablename__ = "studies"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    # Name of the submitting API key; None without a key.
    owner: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[StudyState] = mapped_column(
        Enum(
            StudyState,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        )
    )
    # screen, teacher, rungs, finals, baseline or result: the latest stage.
    stage: Mapped[str] = mapped_column(String(16))
    # The complete spec, and registry references in the submitted one with their versions.
    spec: Mapped[Json] = mapped_column(JSON)
    resolved_references: Mapped[Json] = mapped_column(JSON, default=dict)
    # The part of the spec that decides: goal, limits, epochs, seeds, budget.
    plan: Mapped[Json] = mapped_column(JSON)
    # Everything that was decided so far: selected, rungs, finalists, recommendation.
    decisions: Mapped[Json] = mapped_column(JSON, default=dict)
    # First rung that was not started because the device hours were used up.
    stopped_at_rung: Mapped[int | None]
    # The front, the recommendation, comparisons and costs.
    result: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # code, message and the nearest candidates.
    failure: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # Why the study does not continue: a quota, a device, or an error of the service.
    blocked_reason: Mapped[str | None] = mapped_column(String(500))

    # Scheduling options of its jobs.
    priority: Mapped[int] = mapped_column()
    queue: Mapped[str] = mapped_column(String(64), default=DEFAULT_QUEUE)
    device_kind: Mapped[str | None] = mapped_column(String(8))
    device_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # As in jobs: those of all candidates and of the teacher, since one job screens all candidates.
    architectures: Mapped[str | None] = mapped_column(Text)
    max_attempts: Mapped[int]

    deadline_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column()
    finished_at: Mapped[datetime | None]
    last_event_number: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - read once by the mapper
    __table_args__ = (
        Index("ix_studies_newest", "project_id", created_at.desc(), id.desc()),
        Index("ix_studies_state_newest", "project_id", state, created_at.desc(), id.desc()),
        Index("ix_studies_name", "project_id", name),
    )


class StudyCandidate(Base):
    """A student with values of the search space. `key` is equal for equal students, which are measured once."""

    __tablename__ = "study_candidates"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(64))
    # For lists.
    label: Mapped[str] = mapped_column(String(200))
    student: Mapped[Json] = mapped_column(JSON)
    # By field path.
    search_values: Mapped[Json] = mapped_column(JSON)
    # Parameters, multiply-accumulates, files and latencies, or an error; NULL until it is measured.
    screen: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    # stage and reason.
    rejected: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))


class StudyEvent(Base):
    """The append-only event stream of a study, numbered from 1 under the lock of its row. `kind` is state, stage,
    rejected, rung, finalists or result.
    """

    __tablename__ = "study_events"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[Json] = mapped_column(JSON)
    at: Mapped[datetime]

    __table_args__ = ({"sqlite_with_rowid": False},)
