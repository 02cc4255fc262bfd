"""Schemas of studies."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, computed_field

from api.http.pagination import Page
from api.jobs.schemas import Deadline, Tags
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.repositories.jobs.crud import DEFAULT_PRIORITY
from ttm_jobs.settings import Queue
from ttm_jobs.studies.rules import limits
from ttm_jobs.studies.states import StudyState

Stage = Literal["screen", "teacher", "rungs", "finals", "baseline", "result"]


class StudyRequest(StudySpec):
    """A study and the scheduling options of its jobs."""

    tags: Tags = Field([], description="Labels of the study's jobs. Default: none.")
    priority: Annotated[int, Field(ge=0, le=9, description="Priority of the study's jobs.")] = DEFAULT_PRIORITY
    queue: Queue | None = Field(None, description="Queue of the study's jobs. Default: the service's first queue.")
    device: Literal["cpu", "cuda"] | None = Field(
        None, description="Kind of device that the study's jobs run on. Default: any worker."
    )
    device_memory_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = Field(
        None, description="Minimum device memory in bytes of the worker. Default: any worker."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None,
        description="Maximum number of attempts of a job if infrastructure errors occur. Default: set by the service.",
    )
    deadline: Deadline | None = Field(
        None,
        description="A time with a time zone, or seconds from now. At the deadline, the study ends with the runs that "
        "are complete, or fails with `deadline_exceeded`. Default: none.",
    )


class Miss(BaseModel):
    """A limit that a candidate does not meet. `value` is null if it is unknown."""

    limit: Literal["retention", "accuracy", "bytes", "latency_ms", "macs", "parameters"]
    allowed: float
    value: float | None

    @computed_field(description="The miss in words.")  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        return str(limits.Miss(self.limit, self.allowed, self.value))


class NearMiss(BaseModel):
    """A candidate that misses the limits least, with the file that comes closest."""

    candidate: int
    precision: Literal["fp32", "int8"]
    misses: list[Miss]


class StudyFailure(BaseModel):
    """Why a study failed. `nearest` has the candidates that come closest if no candidate meets the limits."""

    code: str
    message: str
    nearest: list[NearMiss] = []


class Option(BaseModel):
    """A file of a finalist: what it costs, and its mean accuracy over `runs` runs."""

    candidate: int
    precision: Literal["fp32", "int8"]
    bytes: int = Field(description="Size of the exported ONNX file; the largest over the runs.")
    latency_ms: float | None = Field(
        description="Median latency of one image, measured with the untrained student. Of an int8 file with layers in "
        "float32, measured with the trained student; the largest over the runs."
    )
    macs: int | None
    parameters: int
    validation: float = Field(description="Validation accuracy, which decides.")
    test: float | None = Field(description="Test accuracy; null without a test split.")
    retention: float | None = Field(description="Validation accuracy divided by the teacher's.")
    runs: int
    misses: list[Miss] = Field(description="Limits on accuracy, size and latency that it does not meet.")


class Difference(BaseModel):
    """A difference in accuracy with its 95 % interval, in [-1, 1]."""

    mean: float
    low: float
    high: float
    method: Literal["paired_t", "paired_bootstrap"] = Field(
        description="`paired_t`: over `count` runs with equal seeds; `paired_bootstrap`: over `count` images."
    )
    count: int
    shown: bool = Field(description="Whether the interval excludes zero. If not, no difference is shown.")


class Comparison(BaseModel):
    """The recommended file against the most accurate file of another finalist: its accuracy minus the other's. Null if
    they cannot be compared."""

    candidate: int
    difference: Difference | None


class StudyRecommendation(Option):
    """The recommended student."""

    job: str | None = Field(
        description="Id of its job whose file of this precision has the best validation accuracy: the student to "
        "download."
    )
    meets_limits: bool = Field(description="Whether it meets all limits. If not, it misses them least.")
    fell_to_cheaper: int | None = Field(
        description="The candidate that is more accurate on the validation split and was not recommended, because it "
        "is not shown to be better on the test split and this one is cheaper."
    )
    comparisons: list[Comparison]


class Baseline(BaseModel):
    """The recommended student trained on the labels alone, compared with the recommended one by their files of equal
    precision."""

    precision: Literal["fp32", "int8"] = Field(
        "fp32",
        description="Precision of the compared files: that of the recommended file, or fp32 if no run on the labels "
        "alone has an int8 file.",
    )
    accuracy: float | None = Field(description="Mean accuracy of the files over `runs` runs.")
    runs: int
    difference: Difference | None = Field(
        description="Accuracy of the files with distillation minus without; null if they cannot be compared."
    )


class Costs(BaseModel):
    """What the study cost and saved."""

    device_hours: float
    epochs_trained: int
    epochs_in_rungs: int = Field(description="Epochs trained before the final.")
    epochs_saved: int = Field(description="Epochs not trained, compared with training every candidate to the end once.")
    teacher_forwards: int = Field(description="Images that the teacher ran on in the last attempts of the jobs.")
    teacher_cache_hits: int = Field(description="Images whose teacher logits these attempts read from the store.")


class StudyResult(BaseModel):
    """The result of a study."""

    recommendation: StudyRecommendation
    front: list[Option] = Field(
        description="The files that no other matches or exceeds in accuracy, size and latency; the smallest first."
    )
    options: list[Option] = Field(description="All files of the finalists that meet the cost limits.")
    baseline: Baseline
    candidates_tried: int = Field(description="Number of candidates that validation accuracy was compared of.")
    costs: Costs


class Rung(BaseModel):
    """The end of a rung: validation accuracies by candidate, and the candidates that continued, best first."""

    rung: int
    epoch: int
    accuracies: dict[str, float]
    promoted: list[int]


class StudyLinks(BaseModel):
    """Paths of related resources. An action is null while the study's state does not allow it."""

    self: str
    candidates: str
    events: str
    jobs: str
    page: str
    student: str | None = Field(None, description="Path of the recommended student's file.")
    cancel: str | None = None
    pause: str | None = None
    resume: str | None = None


class StudySummary(BaseModel):
    """A study in a list."""

    id: str
    name: str | None
    tags: list[str]
    owner: str | None = Field(description="Name of the key that submitted the study; null without a key.")
    state: StudyState
    stage: Stage
    goal: Literal["smallest", "fastest", "most_accurate"]
    limits: dict[str, Any]
    recommendation: StudyRecommendation | None
    failure: StudyFailure | None
    blocked_reason: str | None = Field(description="Why the study does not continue: a quota, a device, or an error.")
    priority: int
    queue: str
    deadline_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    links: StudyLinks


class StudyOut(StudySummary):
    """A study with all its details."""

    spec: dict[str, Any] = Field(description="The complete spec.")
    resolved_references: dict[str, str]
    selected: list[int] = Field(description="Numbers of the candidates that are trained.")
    rungs: list[Rung]
    finalists: list[int]
    result: StudyResult | None


class StudyPage(Page[StudySummary]):
    """Studies, newest first."""


class CandidateFile(BaseModel):
    """An exported file of a candidate, as it was measured without training."""

    precision: Literal["fp32", "int8"]
    bytes: int
    latency_ms: float | None


class Rejection(BaseModel):
    """When and why a candidate was excluded."""

    stage: Literal["screen", "budget", "rungs", "finals"]
    reason: str


class CandidateJob(BaseModel):
    """A job of a candidate. `accuracies` has the best validation accuracy up to the last epoch of each rung, and
    `validation` that of a complete run.
    """

    job: str
    state: str
    seed: int
    baseline: bool = Field(description="Whether it trains on the labels alone.")
    rung: int
    accuracies: dict[str, float]
    validation: float | None


class CandidateOut(BaseModel):
    """A candidate: a student with values of the search space."""

    number: int
    label: str
    student: dict[str, Any]
    values: dict[str, Any] = Field(description="Values of the search space, by field.")
    parameters: int | None
    macs: int | None
    files: list[CandidateFile]
    device: str | None = Field(
        description="Where the latency was measured: the worker's CPU, or the device that the limits name."
    )
    runtime: str | None
    rejected: Rejection | None
    jobs: list[CandidateJob]


class CandidateList(BaseModel):
    """All candidates of a study by number. The list is not paginated."""

    items: list[CandidateOut]


class FrontOut(BaseModel):
    """The front of a study; empty until it has ended."""

    items: list[Option]


class ReplayOut(BaseModel):
    """The decisions of a study, computed again from its stored results."""

    agrees: bool = Field(description="Whether they equal the stored decisions.")
    stored: dict[str, Any]
    replayed: dict[str, Any]


class PlannedCandidate(BaseModel):
    """A candidate of a study that was not submitted. Size and cost are those in the catalogue; null where unknown."""

    number: int
    label: str
    parameters: int | None
    macs: int | None


class StudyDryrun(BaseModel):
    """The result of validating a study."""

    spec: dict[str, Any] = Field(description="The spec with defaults.")
    resolved_references: dict[str, str]
    goal: Literal["smallest", "fastest", "most_accurate"]
    candidates: list[PlannedCandidate]
    rungs: list[int] = Field(
        description="Last epoch of each rung, if all candidates that the budget allows are trained."
    )
    most_epochs: int = Field(description="Upper bound of the epochs that the study trains.")
