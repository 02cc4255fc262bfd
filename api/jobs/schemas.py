"""What a job looks like to a client."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from api.artifacts.schemas import ArtifactOut
from api.http.pagination import Page
from api.http.types import UtcDatetime
from api.jobs.next_steps import next_step
from ttm_core.spec.base import StrictModel
from ttm_core.spec.events import Reference
from ttm_core.spec.job import DistillSpec
from ttm_jobs.repositories.jobs.blocked import BlockedOn
from ttm_jobs.repositories.jobs.crud import DEFAULT_PRIORITY
from ttm_jobs.settings import Queue
from ttm_jobs.states import JobState

Share = Annotated[float, Field(ge=0, le=1)]
_TEN_YEARS = 315_360_000


# A number is never taken for a time since 1970, nor a time for a number.
Seconds = Annotated[float, Field(gt=0, le=_TEN_YEARS, strict=True)]
Deadline = UtcDatetime | Seconds


Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]*$")]
Tags = Annotated[list[Tag], Field(max_length=20)]


class JobRequest(DistillSpec):
    """A distillation run, and how the service should treat it."""

    tags: Tags = Field([], description="Words by which to find the job again.")
    priority: Annotated[int, Field(ge=0, le=9, description="Of a project's waiting jobs the highest goes first.")] = (
        DEFAULT_PRIORITY
    )
    queue: Queue | None = Field(
        None, description="Only workers that serve this queue take the job; the first of the service's when left out."
    )
    device_memory_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = Field(
        None, description="Only workers whose device has as much memory take the job; any when left out."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Attempts before an infrastructure error fails the job; the service's own when left out."
    )
    deadline: Deadline | None = Field(
        None,
        description="A time with its zone, or seconds from now. A job that has not ended by then fails with the code "
        "deadline_exceeded, also while it waits.",
    )


class JobPatch(StrictModel):
    """What of a job may be changed at any time; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "pets, third try"}})

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    tags: Tags = Field([])


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
    against: Reference = Field(
        "labels", description="`teacher` for images without labels: `student` is then its agreement with the teacher."
    )
    teacher: float | None
    student: float | None
    change_points: float | None


class Failure(BaseModel):
    """Why a job failed and whose fault it was."""

    code: str
    message: str
    origin: Literal["user", "system"]
    retryable: bool

    @computed_field(description="What to do about it: plain text, with code between backticks.")  # type: ignore[prop-decorator]
    @property
    def next_step(self) -> str:
        """What to do about it."""
        return next_step(self.code, self.origin, retryable=self.retryable)


class AttemptOut(BaseModel):
    """One claim of a job by a worker. `number` counts towards `max_attempts`; an attempt that was given back (the
    worker was drained, or the job paused) is followed by one of the same number.
    """

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Literal["succeeded", "failed", "cancelled", "paused", "released", "lost", "error"] | None = Field(
        description="None while it runs. lost: its worker fell silent; error: an infrastructure error."
    )
    cause: Failure | None = Field(description="Why it failed, was lost or broke off.")
    from_step: int | None = Field(description="Step it began at; None if it did not come to training.")
    to_step: int | None = Field(description="Last step it told of.")


class AttemptList(BaseModel):
    """Every attempt at a job, oldest first; there are few, so the list has no pages."""

    items: list[AttemptOut]


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
    attempts: str
    artifacts: str
    page: str
    teacher: str | None = None
    dataset: str | None = None
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
    tags: list[str]
    owner: str | None = Field(description="Name of the key that submitted it; null where no key was needed.")
    state: JobState
    phase: str | None
    teacher: str | None = Field(description="Architecture of the teacher, or its checkpoint's URI until it is known.")
    student: str
    dataset: str
    method: str
    progress: Progress | None
    metrics: dict[str, float | None] = Field(description="The latest value of each metric.")
    accuracy: Accuracy | None
    priority: int
    queue: str
    attempt: int
    max_attempts: int
    deadline_at: datetime | None
    failure: Failure | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    links: Links


class JobOut(JobSummary):
    """A job with all that is known of it."""

    spec: dict[str, Any] = Field(description="The complete DistillSpec: as run once planned, until then with defaults.")
    resolved_references: dict[str, str] = Field(
        description="What of the spec was given by a name of the project's, and the version that it stood for then."
    )
    resolved: bool = Field(description="True once `spec` has every field decided by the engine.")
    result: dict[str, Any] | None = Field(description="The engine's final report.")
    artifacts: list[ArtifactOut]
    history: list[HistoryEntry]
    retry_of: str | None
    heartbeat_at: datetime | None
    blocked_on: BlockedOn | None = Field(
        None,
        description="Of a queued job. worker: none serves its queue; memory: none that does has as much; limit: its "
        "project runs as many jobs as it may; time: it is tried again later; turn: those before it, or a worker to be "
        "free. As of now: the ETag does not change with it.",
    )
    blocked_reason: str | None = Field(None, description="The same as a sentence.")


class JobPage(Page[JobSummary]):
    """Jobs, newest first."""


class CheckpointOut(BaseModel):
    """A checkpoint that is kept: the last two, and the best by validation."""

    step: int
    epoch: int
    size: int = Field(description="Bytes.")
    sha256: str
    best: bool
    created_at: datetime


class CheckpointList(BaseModel):
    """Every kept checkpoint of a job, newest first."""

    items: list[CheckpointOut]


class ModelSize(BaseModel):
    """What the catalogue knows of a model; null where that is nothing."""

    architecture: str
    parameters: int | None
    macs: int | None = Field(description="Multiply-accumulates for one image of `input_size`.")
    input_size: list[int] | None = Field(description="Channels, height, width.")


class Dryrun(BaseModel):
    """What a job would be, were it submitted."""

    spec: dict[str, Any] = Field(description="The spec with its defaults.")
    resolved_references: dict[str, str] = Field({}, description="The versions that its names stand for now.")
    student: ModelSize
    teachers: list[ModelSize] = Field(description="Those whose architecture is given.")
    teacher_store_bytes_per_image: int | None = Field(
        description="Disk that the kept logits of one view of one image take; null if the number of classes is open."
    )
    like: str | None = Field(
        None,
        description="The newest job that succeeded with the same student, teachers, method, data and batch: what "
        "follows is what that took. Null, and all that follows, if there is none.",
    )
    seconds: float | None = Field(None, description="Of training, scaled to the epochs.")
    memory_bytes: int | None = Field(None, description="Most memory that was held.")
    disk_bytes: int | None = Field(
        None, description="Of the student with its other files, and of the kept logits, these scaled to the epochs."
    )


class MetricPoint(BaseModel):
    """The metrics recorded at a step."""

    step: int
    epoch: float
    at: datetime | None = Field(description="When they were recorded; null for jobs from before this was kept.")
    values: dict[str, float | None]


class MetricPage(BaseModel):
    """Points by step; ask again with `after_step=next_after_step` while `has_more`."""

    items: list[MetricPoint]
    next_after_step: int | None
    has_more: bool
