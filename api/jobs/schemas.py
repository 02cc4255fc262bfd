"""What a job looks like to a client."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.artifacts.schemas import ArtifactOut
from api.pagination import Page
from ttm_jobs.states import JobState

Share = Annotated[float, Field(ge=0, le=1)]


class Progress(BaseModel):
    """Where the attempt stands. `fraction` is step / total_steps."""

    step: int
    total_steps: int
    fraction: Share
    epoch: int
    epochs: int
    images_per_second: float | None = None
    eta_seconds: float | None = Field(None, description="Seconds to the end of training, as estimated.")


class Accuracy(BaseModel):
    """Top-1 accuracy as shares in [0, 1], and the gap in percentage points (teacher minus student)."""

    split: Literal["validation", "test"]
    teacher: float | None
    student: float | None
    gap_points: float | None


class Failure(BaseModel):
    """Why a job failed and whose fault it was."""

    code: str
    message: str
    origin: Literal["user", "system"]
    retryable: bool


class HistoryEntry(BaseModel):
    """A change of state or of phase."""

    at: datetime
    kind: Literal["state", "phase"]
    value: str
    attempt: int | None = None


class Links(BaseModel):
    """Paths of what belongs to the job; an action is given only while it is allowed."""

    self: str
    events: str
    metrics: str
    artifacts: str
    page: str
    student: str | None = None
    log: str | None = None
    cancel: str | None = None
    pause: str | None = None
    resume: str | None = None
    retry: str | None = None


class JobSummary(BaseModel):
    """A job in a list."""

    id: str
    name: str | None
    state: JobState
    phase: str | None
    teacher: str | None = Field(description="Architecture of the teacher, or its checkpoint's URI until it is known.")
    student: str
    dataset: str
    method: str
    progress: Progress | None
    metrics: dict[str, float | None] = Field(description="The latest value of each metric.")
    accuracy: Accuracy | None
    attempt: int
    max_attempts: int
    failure: Failure | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    links: Links


class JobOut(JobSummary):
    """A job with all that is known of it."""

    spec: dict[str, Any] = Field(description="The complete DistillSpec: as run once planned, until then with defaults.")
    planned: bool = Field(description="True once `spec` has every field decided by the engine.")
    result: dict[str, Any] | None = Field(description="The engine's final report.")
    artifacts: list[ArtifactOut]
    history: list[HistoryEntry]
    retry_of: str | None
    heartbeat_at: datetime | None


class JobPage(Page[JobSummary]):
    """Jobs, newest first."""


class MetricPoint(BaseModel):
    """The metrics recorded at a step."""

    step: int
    epoch: float
    values: dict[str, float | None]


class MetricPage(BaseModel):
    """Points by step; ask again with `after_step=next_after_step` while `has_more`."""

    items: list[MetricPoint]
    next_after_step: int | None
    has_more: bool
