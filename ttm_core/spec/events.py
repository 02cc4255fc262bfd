"""What a run tells while it works. Torch-free; one JSON object a line when it crosses a pipe.

The order of a run: phases in order, `resolved` once, `teacher_measured` at most once, then `progress`, `metrics` and
`checkpoint` many times, and last exactly one of `finished`, `stopped`, `failed`.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from ttm_core.spec.job import DistillSpec

Phase = Literal["fetching", "loading_teacher", "caching_teacher", "training", "evaluating", "exporting"]


Reference = Literal["labels", "teacher"]
"""What a student's answers are held against: the labels that the data brings, or the teacher's own answers instead."""


# Of a teacher store's key. Whoever reads an event may make a path of it.
StoreDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _fit_to_show(text: str) -> str:
    # It may quote what a stranger's file holds, of any length, and NUL, which PostgreSQL does not keep.
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in shown)


_LONGEST = 2000
Message = Annotated[str, AfterValidator(_fit_to_show)]


class _Event(BaseModel):
    # A reader of a neighboring version ignores fields it does not know. NaN and Infinity cross as JSON strings.
    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="strings")


class PhaseChanged(_Event):
    kind: Literal["phase"] = "phase"
    phase: Phase


class Estimate(BaseModel):
    """What a run is expected to take, from a few steps before it began."""

    seconds: float = Field(description="Of training, validation and the teacher, from the first step on.")
    step_seconds: float
    teacher_seconds: float = Field(description="Of `seconds`, to fill the teacher's store; 0 where it is full.")
    store_bytes: int = Field(description="That the teacher's store takes in the end; 0 without one.")
    memory_bytes: int = Field(description="Most memory so far: of the GPU, or of the process without one.")


class Resolved(_Event):
    """The spec with every open field decided, and the size of what follows."""

    kind: Literal["resolved"] = "resolved"
    spec: DistillSpec
    total_steps: int
    train_images: int
    validation_images: int
    test_images: int
    unreadable_images: int
    num_classes: int
    student_parameters: int
    teacher_parameters: int | None
    resumed_from_step: int | None
    estimate: Estimate | None = None
    """As the first attempt made it; None from a trainer of an earlier version."""
    teacher_stores: list[StoreDigest] = []
    """That the run reads and fills, in the order of its teachers, each once."""


class TeacherMeasured(_Event):
    """The teacher's own accuracy on the validation split, before any compute is spent on the student. Not told where
    that has no labels."""

    kind: Literal["teacher_measured"] = "teacher_measured"
    top1: float
    loss: float
    images: int


class Progress(_Event):
    kind: Literal["progress"] = "progress"
    step: int
    total_steps: int
    epoch: int
    epochs: int
    images_per_second: float
    eta_seconds: float | None


class Metrics(_Event):
    """Named numbers at a step: `train/loss`, `train/ce`, `train/wttm`, `train/learning_rate`,
    `train/images_per_second`, `train/data_wait_share`, `validation/top1`, `validation/loss`; `validation/agreement` in
    place of `validation/top1` where the teacher's answers stand for labels."""

    kind: Literal["metrics"] = "metrics"
    step: int
    epoch: float
    values: dict[str, float]


class CheckpointSaved(_Event):
    """A whole, durable checkpoint; `path` is relative to the work directory."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int
    path: str
    sha256: str
    size: int
    best: bool


class Log(_Event):
    kind: Literal["log"] = "log"
    level: Literal["info", "warning"] = "info"
    message: Message


class StoreRequested(_Event):
    """Told only by a run that was given a folder for answers: it goes on when a file of this name is there. Whoever
    supervises it may bring the store meanwhile."""

    kind: Literal["store_requested"] = "store_requested"
    digest: StoreDigest


class Artifact(BaseModel):
    """A file the run made; `path` is relative to the work directory."""

    name: str
    path: str
    media_type: str
    size: int
    sha256: str


class Accuracy(BaseModel):
    """Shares in [0, 1]; `loss` is the mean cross-entropy in nats. Both against the labels, or, for images without, the
    class that the teacher gives: `top1` is agreement with the teacher then."""

    top1: float
    loss: float
    images: int
    against: Reference = "labels"


class Result(BaseModel):
    """How a run ended. Accuracies are of the best student by validation; test is None without a test split."""

    best_epoch: int
    steps: int
    student_validation: Accuracy
    student_test: Accuracy | None
    teacher_validation: Accuracy | None
    teacher_test: Accuracy | None
    student_parameters: int
    teacher_parameters: int | None
    train_seconds: float
    """Of the last attempt."""
    training_seconds: float | None = None
    """From the first step to the last, over all attempts: what the estimate was of."""
    teacher_forwards: int | None = None
    """Images that the last attempt ran the teacher on for training; None where no method asked for it."""
    teacher_cache_hits: int | None = None
    """Images whose logits were read from the teacher store without having been computed by the last attempt."""
    artifacts: list[Artifact]


class Finished(_Event):
    kind: Literal["finished"] = "finished"
    result: Result


class Stopped(_Event):
    """Asked to stop, the run saved a checkpoint and left; started again in its work directory, it goes on."""

    kind: Literal["stopped"] = "stopped"
    step: int


class Failed(_Event):
    kind: Literal["failed"] = "failed"
    code: str
    message: Message
    origin: Literal["user", "system"]
    retryable: bool


Event = Annotated[
    PhaseChanged
    | Resolved
    | TeacherMeasured
    | Progress
    | Metrics
    | CheckpointSaved
    | Log
    | StoreRequested
    | Finished
    | Stopped
    | Failed,
    Field(discriminator="kind"),
]

_event: TypeAdapter[Event] = TypeAdapter(Event)


def encode(event: Event) -> bytes:
    """One line of UTF-8 JSON, newline included."""
    return event.model_dump_json().encode() + b"\n"


def decode(line: bytes) -> Event:
    """The event of one line; ValueError for anything else."""
    return _event.validate_json(line)
