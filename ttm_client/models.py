"""What the service answers, typed. Fields of a newer service are kept out, so that an older client goes on working."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Upload(_Answer):
    """A file that the service keeps; `uri` names it in a job's spec."""

    id: str
    uri: str
    filename: str | None
    size: int
    sha256: str
    created_at: datetime


class Progress(_Answer):
    """Where the running attempt stands; `fraction` in [0, 1], `eta_seconds` to the end of training."""

    step: int
    total_steps: int
    fraction: float
    epoch: int
    epochs: int
    images_per_second: float | None = None
    eta_seconds: float | None = None


class Accuracy(_Answer):
    """Top-1 shares in [0, 1]; `gap_points` is teacher minus student in percentage points."""

    split: str
    teacher: float | None
    student: float | None
    gap_points: float | None


class Failure(_Answer):
    """Why a job failed; `origin` is `user` or `system`."""

    code: str
    message: str
    origin: str
    retryable: bool


class HistoryEntry(_Answer):
    """A change of state or phase."""

    at: datetime
    kind: str
    value: str
    attempt: int | None = None


class Artifact(_Answer):
    """A file that a job made."""

    name: str
    size: int
    sha256: str
    media_type: str
    href: str


class JobSummary(_Answer):
    """A job as a list shows it."""

    id: str
    name: str | None
    tags: tuple[str, ...] = ()
    state: str
    phase: str | None
    teacher: str | None
    student: str
    dataset: str
    method: str
    progress: Progress | None
    metrics: dict[str, float | None]
    accuracy: Accuracy | None
    attempt: int
    max_attempts: int
    failure: Failure | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def done(self) -> bool:
        """True once the state can no longer change."""
        return self.state in TERMINAL_STATES


class Job(JobSummary):
    """A job with all that is known of it; `spec` is complete once `planned`."""

    spec: dict[str, Any]
    planned: bool
    result: dict[str, Any] | None
    artifacts: list[Artifact]
    history: list[HistoryEntry]
    retry_of: str | None
    heartbeat_at: datetime | None


class Attempt(_Answer):
    """One claim of a job by a worker; `cause` says why it ended early, `from_step` and `to_step` how far it came."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    cause: Failure | None
    from_step: int | None
    to_step: int | None


class JobEvent(_Answer):
    """One entry of a job's event stream; `data` depends on `kind`."""

    id: str
    kind: str
    at: datetime
    data: dict[str, Any]


class MetricPoint(_Answer):
    """The metrics recorded at a step."""

    step: int
    epoch: float
    values: dict[str, float | None]


class Architecture(_Answer):
    """A model the service can train; `parameters` and `macs` at `input_size` with the default number of classes."""

    name: str
    family: str
    parameters: int
    macs: int | None
    input_size: list[int]
    pretrained: bool


class Recipe(_Answer):
    """A published run; `spec` is the part of a spec that a job which names it need not say, `published` the source's
    top-1 accuracies in per cent: `teacher`, `student` trained alone, `distilled`.
    """

    name: str
    title: str
    source: str
    published: dict[str, float | None]
    spec: dict[str, Any]
