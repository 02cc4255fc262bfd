"""Events that a run emits. Torch-free; serialized as one JSON object a line.

Order of the events of an attempt: `phase` events in the order of `Phase` (`caching_teacher` is followed by `training`
again); `teacher_measured` at most once, before `resolved`; `resolved` once; then any number of `progress`, `metrics`
and `checkpoint` events, and of `measured` events in the phase `exporting`; last exactly one of `finished`,
`stage_finished`, `stopped` and `failed`. `log` and `store_requested` may come anywhere. A run of kind `screen` emits
one `candidate_screened` event per student.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from ttm_core.spec.job import DistillSpec, Normalization
from ttm_core.spec.speed.measurement import FileMeasurement
from ttm_core.spec.structure import ModelStructure

Phase = Literal["fetching", "loading_teacher", "caching_teacher", "training", "evaluating", "exporting"]


Reference = Literal["labels", "teacher"]
"""What predictions are compared with: the dataset's labels, or the teacher's predictions for images without labels."""

LogLevel = Literal["info", "warning"]


# SHA-256 of a teacher store's key. The pattern makes it safe as a file name.
StoreDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _printable(text: str) -> str:
    # A message may quote untrusted files of any length, and PostgreSQL stores no NUL.
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in shown)


_LONGEST = 2000
Message = Annotated[str, AfterValidator(_printable)]


class _Event(BaseModel):
    # Readers of another version ignore unknown fields. NaN and Infinity are serialized as strings.
    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="strings")


class PhaseChanged(_Event):
    kind: Literal["phase"] = "phase"
    phase: Phase


class Estimate(BaseModel):
    """Expected duration and memory of a run, from timing a few steps before it starts."""

    seconds: float = Field(description="Training, validation and teacher forward passes, from the first step.")
    step_seconds: float
    teacher_seconds: float = Field(description="Part of `seconds` that fills the teacher store; 0 if it is full.")
    store_bytes: int = Field(description="Size of the full teacher store; 0 without one.")
    memory_bytes: int = Field(description="Peak memory of the GPU, or of the process on a CPU.")


class Resolved(_Event):
    """The spec with every open field resolved, and the size of the run."""

    kind: Literal["resolved"] = "resolved"
    spec: DistillSpec
    total_steps: int
    train_images: int
    unlabelled_images: int = Field(0, description="Training images without a label.")
    validation_images: int
    test_images: int
    unreadable_images: int
    num_classes: int
    student_parameters: int
    teacher_parameters: int | None
    resumed_from_step: int | None
    estimate: Estimate | None = None
    """Made by the first attempt."""
    student_structure: ModelStructure | None = None
    reasons: dict[str, str] = {}
    """Why the fields that the spec left open have their values, by path. Empty where an earlier attempt resolved it."""
    teacher_stores: list[StoreDigest] = []
    """Digests of the stores that the run uses, in the order of its teachers, without duplicates."""


class WeakClass(BaseModel):
    """A class on which the teacher is much worse than on average."""

    name: str
    images: int
    top1: float


class SuggestedNormalization(BaseModel):
    """A normalization with which the teacher is clearly better, measured on `images` images."""

    preset: str
    normalization: Normalization
    top1: float
    current_top1: float
    images: int


class SuggestedImageSize(BaseModel):
    """An image size with which the teacher is clearly better, measured on `images` images."""

    image_size: int
    top1: float
    current_top1: float
    images: int


class TeacherMeasured(_Event):
    """The teacher's accuracy on the validation split, measured before training. Omitted for a split without labels.

    `low` and `high` are its 95 % Wilson interval; `chance` is the share of the largest class.
    """

    kind: Literal["teacher_measured"] = "teacher_measured"
    top1: float
    loss: float
    images: int
    low: float
    high: float
    chance: float
    weak_classes: list[WeakClass]
    suggested_normalization: SuggestedNormalization | None
    suggested_image_size: SuggestedImageSize | None


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
    `train/images_per_second`, `train/data_wait_share`, `validation/top1`, `validation/loss`; `validation/agreement`
    replaces `validation/top1` where the teacher's predictions are the labels."""

    kind: Literal["metrics"] = "metrics"
    step: int
    epoch: float
    values: dict[str, float]


class CheckpointSaved(_Event):
    """A complete, durable checkpoint; `path` is relative to the work directory.

    `best` is true for the checkpoint with the best validated weights so far; it replaces the previous best one. Steps
    and epochs of quantization-aware training count on from the last ones of the run.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int
    path: str
    sha256: str
    size: int
    best: bool


class Log(_Event):
    kind: Literal["log"] = "log"
    level: LogLevel = "info"
    message: Message


class StoreRequested(_Event):
    """Requests a teacher store from the worker. The run continues when the answers folder has a file named `digest`."""

    kind: Literal["store_requested"] = "store_requested"
    digest: StoreDigest


class Artifact(BaseModel):
    """A file that the run wrote; `path` is relative to the work directory."""

    name: str
    path: str
    media_type: str
    size: int
    sha256: str


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share observed among `count` images; 95 % by default."""
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    margin = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return center - margin, center + margin


class Accuracy(BaseModel):
    """Top-1 accuracy in [0, 1] and mean cross-entropy in nats. For images without labels, the teacher's predictions are
    the labels, so that `top1` is agreement with the teacher."""

    top1: float
    loss: float
    images: int
    against: Reference = "labels"


class Result(BaseModel):
    """Result of a run. Accuracies are those of the best student by validation; test is None without a test split."""

    best_epoch: int
    steps: int
    student_validation: Accuracy
    student_test: Accuracy | None
    teacher_validation: Accuracy | None
    teacher_test: Accuracy | None
    student_parameters: int
    teacher_parameters: int | None
    train_seconds: float
    """Duration of the last attempt."""
    training_seconds: float | None = None
    """From the first step to the last, over all attempts; compare with the estimate."""
    teacher_forwards: int | None = None
    """Images that the last attempt ran the teacher on to fill its store; None without a store."""
    teacher_cache_hits: int | None = None
    """Images whose logits the last attempt read from the teacher store without computing them."""
    int8_change: float | None = None
    """Top-1 accuracy of student-int8.onnx minus that of the student, on the test split, or validation without one."""
    int8_validation_change: float | None = None
    """The same on the validation split."""
    onnx_bytes: dict[Literal["fp32", "int8"], int] | None = None
    """Sizes of student.onnx and student-int8.onnx, as far as they were exported."""
    onnx_latency_ms: dict[Literal["fp32", "int8"], float] | None = None
    """Median latencies of these files for one image on one thread, as far as they were measured on the worker."""
    int8_in_float: bool | None = None
    """Whether layers of student-int8.onnx stay in float32; None without the file."""
    correct: str | None = None
    """Which images of the test split (validation without one) the student classifies correctly: base64 of one bit an
    image, the first in the highest bit. Only in runs of a study."""
    artifacts: list[Artifact]


class ScreenedFile(BaseModel):
    """An exported ONNX file of an untrained student. `latency_ms` is the median for one image on one thread."""

    precision: Literal["fp32", "int8"]
    bytes: int
    latency_ms: float | None


class CandidateScreened(_Event):
    """The measurements of a student that the candidates `numbers` of a study have in common. `error` is the reason if
    it cannot be built or exported. `device` and `runtime` say where the latency was measured.
    """

    kind: Literal["candidate_screened"] = "candidate_screened"
    numbers: list[int]
    parameters: int = 0
    macs: int | None = None
    files: list[ScreenedFile] = []
    error: Message | None = None
    device: str | None = None
    runtime: str | None = None
    cached: bool = False


class StageFinished(_Event):
    """The end of a run that trains no student: of kind `screen` or `teacher`."""

    kind: Literal["stage_finished"] = "stage_finished"
    teacher_forwards: int | None = None
    teacher_cache_hits: int | None = None
    artifacts: list[Artifact] = []
    """The ONNX files of screened students, if another device measures them."""


class Finished(_Event):
    kind: Literal["finished"] = "finished"
    result: Result


class Measured(_Event):
    """Latency and memory of an exported ONNX file on this machine."""

    kind: Literal["measured"] = "measured"
    measurement: FileMeasurement


class Stopped(_Event):
    """The run saved a checkpoint after a stop request; started again in its work directory, it resumes.

    `epoch` and `best_top1`, the best validation accuracy so far, are set if the run stopped by itself after the epoch
    of `RunOptions.pause_after_epoch`.
    """

    kind: Literal["stopped"] = "stopped"
    step: int
    epoch: int | None = None
    best_top1: float | None = None


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
    | Measured
    | CandidateScreened
    | StageFinished
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
    """Decodes one line. Raises ValueError for anything but an event."""
    return _event.validate_json(line)
