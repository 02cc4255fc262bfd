"""Schemas of jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.artifacts.schemas import ArtifactOut
from api.http.pagination import Page
from api.http.types import NoControls, UtcDatetime
from api.jobs.failures import Failure
from ttm_core.checkpoints.schema import Inspection
from ttm_core.spec.base import RunName, StrictModel
from ttm_core.spec.events import Reference, SuggestedImageSize, SuggestedNormalization, WeakClass
from ttm_core.spec.job import DistillSpec
from ttm_jobs.repositories.jobs.blocked import BlockedOn
from ttm_jobs.repositories.jobs.crud import DEFAULT_PRIORITY, MAX_TAGS
from ttm_jobs.settings import Queue
from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import JobKind

Share = Annotated[float, Field(ge=0, le=1)]
_TEN_YEARS = 315_360_000


# Strict, so that a number is not parsed as a timestamp and a timestamp is not parsed as a number.
Seconds = Annotated[float, Field(gt=0, le=_TEN_YEARS, strict=True)]
Deadline = UtcDatetime | Seconds


Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]*$")]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]


class JobRequest(DistillSpec):
    """A distillation run and its scheduling options."""

    tags: Tags = Field([], description="Labels for filtering jobs. Default: none.")
    priority: Annotated[int, Field(ge=0, le=9, description="Jobs of a project with a higher priority run first.")] = (
        DEFAULT_PRIORITY
    )
    queue: Queue | None = Field(
        None,
        description="Queue of the job: only workers that serve it run the job. Default: the service's first queue.",
    )
    device: Literal["cpu", "cuda"] | None = Field(
        None,
        description="Kind of device: only workers with GPUs (`cuda`) or without (`cpu`) run the job. On a worker with "
        "GPUs, the job waits for one with at least `training.devices` GPUs, and for bfloat16 units if its precision "
        "is bfloat16. Default: `cuda` for precision float16, which requires it; else any worker.",
    )
    device_memory_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = Field(
        None, description="Minimum device memory in bytes of the worker. Default: any worker."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Maximum number of attempts if infrastructure errors occur. Default: set by the service."
    )
    deadline: Deadline | None = Field(
        None,
        description="A time with a time zone, or seconds from now. A job that has not ended by then, queued or "
        "running, fails "
        "with the code `deadline_exceeded`. Default: none.",
    )


class JobPatch(StrictModel):
    """Changes of a job. Omitted fields are unchanged."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "pets, third try"}})

    name: Annotated[RunName, NoControls] | None = Field(None, description="The new name; null removes the name.")
    tags: Tags = Field([], description="The new tags. They replace all existing tags.")


class Progress(BaseModel):
    """Progress of the current attempt."""

    step: int
    total_steps: int
    fraction: Share = Field(description="`step` / `total_steps`.")
    epoch: int
    epochs: int
    images_per_second: float | None = None
    eta_seconds: float | None = Field(None, description="Estimated seconds until the end of training.")


class Accuracy(BaseModel):
    """Top-1 accuracies in [0, 1] of teacher and student on the same split."""

    split: Literal["validation", "test"] = Field(
        description="`test` once the job has succeeded and the dataset has a test split, else `validation`."
    )
    against: Reference = Field(
        "labels",
        description="What the student is compared with: `labels`, or `teacher` for unlabelled images. `student` is "
        "then the agreement "
        "with the teacher.",
    )
    teacher: float | None
    student: float | None
    interval: tuple[float, float] | None = Field(
        None, description="95 % Wilson interval of `student`; null until the job has a result."
    )
    change_points: float | None = Field(
        description="Accuracy change against the teacher in percentage points: student minus teacher. Negative is "
        "worse."
    )
    retention: float | None = Field(None, description="Student accuracy divided by teacher accuracy.")


class TeacherCheck(BaseModel):
    """The teacher on the validation split, measured before training."""

    top1: float
    interval: tuple[float, float] = Field(description="95 % Wilson interval of `top1`.")
    chance: float = Field(description="Share of the largest class. A teacher that is not better fails the job.")
    images: int
    weak_classes: list[WeakClass] = Field(
        description="Up to ten classes on which it is less than half as accurate as on average, the weakest first."
    )
    suggested_normalization: SuggestedNormalization | None = Field(
        description="A normalization with which the teacher is clearly better; null if none is. Set "
        "`teacher.normalization` to it if the teacher was trained with it."
    )
    suggested_image_size: SuggestedImageSize | None = Field(
        description="An image size with which the teacher is clearly better; null if none is. Set `teacher.image_size` "
        "to it."
    )


class AttemptOut(BaseModel):
    """One attempt of a worker to run a job. `number` counts towards `max_attempts`. After a pause or a worker
    shutdown, the next attempt has the same number.
    """

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Literal["succeeded", "failed", "cancelled", "paused", "released", "lost", "error"] | None = Field(
        description="Null while it runs. `lost`: the worker became unresponsive; `error`: an infrastructure error; "
        "`released`: the worker was shut down or the database was restored."
    )
    cause: Failure | None = Field(description="Why the attempt failed or was lost.")
    from_step: int | None = Field(description="First step; null if training did not start.")
    to_step: int | None = Field(description="Last reported step.")


class AttemptList(BaseModel):
    """All attempts of a job, oldest first. The list is not paginated."""

    items: list[AttemptOut]


class HistoryEntry(BaseModel):
    """A change of state or phase."""

    at: datetime
    kind: Literal["state", "phase"]
    value: str
    attempt: int | None = None


class Links(BaseModel):
    """Paths of related resources. An action is null while the job's state does not allow it."""

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


class StudyPlace(BaseModel):
    """The place of a job in a study."""

    id: str = Field(description="Id of the study.")
    candidate: int | None = Field(description="Number of the candidate; null for a job that serves all candidates.")
    seed: int = Field(description="Number of the run of the candidate.")
    baseline: bool = Field(description="Whether it trains on the labels alone, for comparison.")
    rung: int
    pause_after_epoch: int | None = Field(description="The job pauses itself after this epoch.")


class JobSummary(BaseModel):
    """A job in a list."""

    id: str
    kind: JobKind = Field(
        description="`distill` trains a student. In studies, `screen` measures the candidates without training, and "
        "`teacher` stores the teacher's logits."
    )
    study: StudyPlace | None = Field(description="The study that created the job.")
    name: str | None
    tags: list[str]
    owner: str | None = Field(description="Name of the key that submitted the job; null without a key.")
    state: JobState
    phase: str | None
    teacher: str | None = Field(
        description="Architecture of the teacher; until it is known, the URI of its checkpoint."
    )
    student: str
    dataset: str
    method: str
    progress: Progress | None
    metrics: dict[str, float | None] = Field(description="The latest value of each metric.")
    accuracy: Accuracy | None
    compression: float | None = Field(
        description="Parameters of the teacher divided by those of the student; null without a known teacher."
    )
    priority: int
    queue: str
    attempt: int = Field(description="Number of the current or last attempt; 0 before the first one.")
    max_attempts: int
    deadline_at: datetime | None
    failure: Failure | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None = Field(description="Start of the first attempt.")
    finished_at: datetime | None
    device_seconds: float = Field(description="Total duration of the ended attempts, without pauses and waits.")
    attempt_started_at: datetime | None = Field(description="Start of the current attempt; null while none runs.")
    links: Links


class JobOut(JobSummary):
    """A job with all its details."""

    spec: dict[str, Any] = Field(
        description="The complete spec. Once `resolved` is true, with every default that was resolved from the data."
    )
    resolved_references: dict[str, str] = Field(
        description="The named teachers and datasets that the spec referred to, with the versions used, by spec field."
    )
    resolved: bool = Field(description="Whether `spec` has all its defaults resolved.")
    reasons: dict[str, str] = Field(
        {},
        description="Why the fields that the submitted spec left open have their values in `spec`, by path, such as "
        "`training.precision`. Empty until `resolved`.",
    )
    result: dict[str, Any] | None = Field(description="The result of the training; null until the job succeeds.")
    student_structure: dict[str, Any] | None = Field(
        None,
        description="Everything that determines the layers of the student: architecture, number of classes, input, and "
        "pruning history. Null until `resolved`.",
    )
    teacher_check: TeacherCheck | None = Field(
        None, description="Null until the teacher is measured, and for validation images without labels."
    )
    artifacts: list[ArtifactOut]
    history: list[HistoryEntry]
    retry_of: str | None = Field(description="Id of the job that this job retries.")
    heartbeat_at: datetime | None = Field(description="Last heartbeat of the worker.")
    blocked_on: BlockedOn | None = Field(
        None,
        description="`worker`: no active worker serves the queue, or those that could run the job failed at "
        "their last claim or attempt; `device`: no worker has the devices that the job "
        "needs; `memory`: no worker has enough device memory; `architecture`: no worker has installed the package of "
        "the student's or a teacher's architecture; "
        "`limit`: the project has reached its limit of running jobs; `time`: waiting for a retry; `queue`: waiting for "
        "earlier jobs or a free worker. Null unless queued. The ETag does not change with it.",
    )
    blocked_reason: str | None = Field(None, description="Why the job is blocked, as a sentence.")


class JobPage(Page[JobSummary]):
    """Jobs, newest first."""


class CheckpointOut(BaseModel):
    """A stored checkpoint. The last two and the best by validation accuracy are stored."""

    step: int
    epoch: int
    size: int = Field(description="Bytes.")
    sha256: str
    best: bool = Field(description="Whether it has the best validation accuracy.")
    created_at: datetime


class CheckpointList(BaseModel):
    """The stored checkpoints of a job, newest first."""

    items: list[CheckpointOut]


class ModelSize(BaseModel):
    """Size and cost of a model from the catalogue; null where unknown."""

    architecture: str
    parameters: int | None
    macs: int | None = Field(description="Multiply-accumulate operations for one image of `input_size`.")
    input_size: list[int] | None = Field(description="Channels, height, width.")


class Dryrun(BaseModel):
    """The result of validating a job."""

    spec: dict[str, Any] = Field(description="The spec with defaults.")
    resolved_references: dict[str, str] = Field(
        {}, description="The current versions of named teachers and datasets, by spec field."
    )
    student: ModelSize | None = Field(
        description="Null if the architecture is not known before the run. For a pruned student, the target: the "
        "teacher's architecture, and what remains of the number that `student.prune` limits."
    )
    teachers: list[ModelSize] = Field(description="The teachers whose architecture is specified.")
    checkpoints: list[Inspection | None] = Field(
        [], description="What the teachers' files are; null for a teacher that is not an upload."
    )
    teacher_store_bytes_per_image: int | None = Field(
        description="Bytes on disk for the stored logits of all teachers for one view of an image, in the format "
        "`training.stored_as`; null if the number of classes is unknown."
    )
    similar_job: str | None = Field(
        None,
        description="Id of the most recent succeeded job with the same student, teachers, method, dataset and batch "
        "size. The following fields are its resources; all are null if there is none.",
    )
    seconds: float | None = Field(None, description="Training time in seconds, scaled by the number of epochs.")
    memory_bytes: int | None = Field(None, description="Peak memory in bytes.")
    disk_bytes: int | None = Field(
        None, description="Bytes of the artifacts and the stored logits, the latter scaled by the number of epochs."
    )


class MetricPoint(BaseModel):
    """The metrics of one step."""

    step: int
    epoch: float
    at: datetime | None = Field(description="When they were recorded; null if unknown.")
    values: dict[str, float | None]


class MetricPage(BaseModel):
    """Metrics by step. While `has_more` is true, request the next page with `after_step=next_after_step`."""

    items: list[MetricPoint]
    next_after_step: int | None
    has_more: bool
