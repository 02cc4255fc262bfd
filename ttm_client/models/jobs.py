"""Typed responses about jobs."""

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from ttm_client.models.base import ApiModel

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class Upload(ApiModel):
    """An uploaded file. Use `uri` in a job's spec.

    >>> upload = client.uploads.create("teacher.safetensors")
    >>> upload.uri == "upload:" + upload.id, upload.size
    (True, 7)
    """

    id: str
    uri: str
    filename: str | None
    size: int
    state: str  # "finalizing" while the service computes the SHA-256, then "complete"
    sha256: str | None
    created_at: datetime


class Candidate(ApiModel):
    """An architecture that the tensors of a file fit. `score` is in [0, 1]; `loads` means completely, with `key_map` if
    there is one.

    >>> upload = client.uploads.create(trained)
    >>> best = client.uploads.inspect(upload.id).candidates[0]
    >>> best.architecture, best.loads, best.num_classes
    ('mini/resnet8_025', True, 2)
    """

    architecture: str
    score: float
    loads: bool
    num_classes: int | None
    key_map: dict[str, str] | None
    conversions: list[str]
    missing: list[str]
    missing_count: int
    unexpected: list[str]
    unexpected_count: int
    mismatched: list[str]
    mismatched_count: int
    normalization: dict[str, list[float]]
    input_size: list[int]


class OnnxClassifier(ApiModel):
    """What an ONNX file takes and returns.

    `batch` and `image_size` are None for a graph that takes any, `pixels` for one that does not normalize its input.
    `run_size` is the side of the images with which it was run once, None if it was not run.

    >>> upload = client.uploads.create("teacher.safetensors")
    >>> client.uploads.inspect(upload.id).onnx is None
    True
    """

    input: str
    dtype: str
    layout: str
    batch: int | None
    channels: int
    image_size: int | None
    output: str
    num_classes: int | None
    probabilities: bool
    pixels: str | None
    class_names: list[str] | None
    parameters: int
    run_size: int | None


class Inspection(ApiModel):
    """What a file is. `problem` is None for a checkpoint that can be read; `candidates` are the best first.
    `checkpoint_keys` are those of the models in a file that has several, the described one first.

    >>> upload = client.uploads.create("teacher.safetensors")
    >>> client.uploads.inspect(upload.id).problem
    'The file is not a checkpoint of PyTorch, safetensors or ONNX.'
    """

    kind: str
    problem: str | None
    layout: str | None
    tensors: int | None
    parameters: int | None
    architecture: str | None
    pruned: bool
    onnx: OnnxClassifier | None
    checkpoint_keys: list[str]
    candidates: list[Candidate]


class Progress(ApiModel):
    """Progress of the current attempt. `fraction` is in [0, 1]; `eta_seconds` is the time to the end of training.

    >>> running.progress.fraction, running.progress.eta_seconds
    (0.5, 50.0)
    """

    step: int
    total_steps: int
    fraction: float
    epoch: int
    epochs: int
    images_per_second: float | None = None
    eta_seconds: float | None = None


class Accuracy(ApiModel):
    """Top-1 accuracies in [0, 1]. `change_points` is student minus teacher in percentage points: negative is worse.
    `retention` is student divided by teacher, and `interval` the 95 % Wilson interval of the student's accuracy.

    >>> done.accuracy.student, done.accuracy.interval
    (0.88, (0.57346, 0.97561))
    >>> done.accuracy.change_points, done.accuracy.retention
    (-3.0, 0.967033)
    """

    split: str
    teacher: float | None
    student: float | None
    change_points: float | None
    retention: float | None = None
    interval: tuple[float, float] | None = None


class Failure(ApiModel):
    """Why a job failed. `origin` is `user` or `system`; `next_step` recommends what to do.

    >>> failed.failure.code, failed.failure.origin, failed.failure.message
    ('bad_dataset', 'user', 'No images.')
    >>> failed.failure.next_step
    'Fix the dataset as the message says, then submit a new job.'
    """

    code: str
    message: str
    origin: str
    retryable: bool
    next_step: str = ""


class HistoryEntry(ApiModel):
    """A change of state or phase.

    >>> [entry.value for entry in done.history if entry.kind == "state"]
    ['queued', 'running', 'succeeded']
    """

    at: datetime
    kind: str
    value: str
    attempt: int | None = None


class Artifact(ApiModel):
    """A file that a job produced.

    >>> [(artifact.name, artifact.size) for artifact in done.artifacts if artifact.name == "student.safetensors"]
    [('student.safetensors', 1280000)]
    """

    name: str
    size: int
    sha256: str
    media_type: str
    href: str


class JobSummary(ApiModel):
    """A job as returned in lists.

    >>> [(job.name, job.state, job.student) for job in client.jobs.list(states=("running",))]
    [('a job', 'running', 'cifar/resnet20')]
    """

    id: str
    kind: str = "distill"
    study: dict[str, Any] | None = None
    name: str | None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    state: str
    phase: str | None
    teacher: str | None
    student: str
    dataset: str
    method: str
    progress: Progress | None
    metrics: dict[str, float | None]
    accuracy: Accuracy | None
    compression: float | None = None
    priority: int | None = None
    queue: str | None = None
    attempt: int
    max_attempts: int
    deadline_at: datetime | None = None
    failure: Failure | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    device_seconds: float = 0.0
    attempt_started_at: datetime | None = None

    @property
    def run_seconds(self) -> float | None:
        """Seconds that the job's attempts have run so far, without pauses and waits. None before the first attempt.

        >>> queued.run_seconds is None, done.run_seconds == done.device_seconds
        (True, True)
        """
        if self.started_at is None:
            return None
        current = self.attempt_started_at
        return self.device_seconds + (0.0 if current is None else (datetime.now(UTC) - current).total_seconds())

    @property
    def done(self) -> bool:
        """Whether the job is in a terminal state.

        >>> done.done, running.done
        (True, False)
        """
        return self.state in TERMINAL_STATES


class TeacherCheck(ApiModel):
    """The teacher on the validation images, measured before training: its accuracy with the 95 % interval, chance, the
    classes that it knows least, and a normalization and an image size with which it is clearly better.

    >>> done.teacher_check.top1, done.teacher_check.chance
    (0.95, 0.1)
    """

    top1: float
    interval: tuple[float, float]
    chance: float
    images: int
    weak_classes: tuple[dict[str, Any], ...]
    suggested_normalization: dict[str, Any] | None
    suggested_image_size: dict[str, Any] | None


class Job(JobSummary):
    """A job with all its fields. `spec` has every default filled in once `resolved` is true, `reasons` says why they
    have their values, and `student_structure` is everything that determines the student's layers.

    >>> done.spec["method"], done.resolved, done.result["student_test"]["top1"]
    ('ce', False, 0.88)
    """

    spec: dict[str, Any]
    resolved: bool
    reasons: dict[str, str] = Field(default_factory=dict)
    result: dict[str, Any] | None
    student_structure: dict[str, Any] | None = None
    teacher_check: TeacherCheck | None = None
    artifacts: list[Artifact]
    history: list[HistoryEntry]
    retry_of: str | None
    heartbeat_at: datetime | None
    blocked_on: str | None = None
    blocked_reason: str | None = None


class BulkResult(ApiModel):
    """The result of a change of several jobs for one of them. `error` has `code` and `message`, or is None.

    >>> [result.state for result in client.jobs.cancel_many([queued.id])]
    ['cancelled']
    """

    id: str
    state: str | None
    tags: tuple[str, ...] | None
    error: dict[str, str] | None


class Attempt(ApiModel):
    """One attempt of a worker to run a job. `cause` is why it ended early; `from_step` and `to_step` are its first and
    last step.

    >>> client.jobs.attempts(failed.id)[0].cause.code
    'bad_dataset'
    """

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    cause: Failure | None
    from_step: int | None
    to_step: int | None


class JobEvent(ApiModel):
    """One event of the event stream of a job, a study or a project. `data` depends on `kind`.

    >>> event = next(client.jobs.events(done.id))
    >>> event.kind, event.data["state"]
    ('state', 'queued')
    """

    id: str
    kind: str
    at: datetime
    data: dict[str, Any]


class MetricPoint(ApiModel):
    """The metrics recorded at a step.

    >>> client.jobs.metrics(done.id)[0].values["train/loss"]
    1.0
    """

    step: int
    epoch: float
    at: datetime | None = None
    values: dict[str, float | None]


class Architecture(ApiModel):
    """An architecture that the service can train. `parameters` and `macs` are for `input_size` and the default number
    of classes. `prunable` is None if it was not measured. `origin` is timm, torchvision, cifar, mini, or the package
    that workers have installed, with its version.

    >>> client.architectures.get("cifar/resnet20").macs
    40818944
    """

    name: str
    family: str
    parameters: int
    macs: int | None
    input_size: list[int]
    pretrained: bool
    prunable: bool | None = None
    origin: str = "timm"


class Recipe(ApiModel):
    """A published experiment. `spec` holds the fields that a job takes from it; `published` holds the source's top-1
    accuracies in percent: `teacher`, `student` (trained alone) and `distilled`.

    >>> client.recipes.get("cifar100/resnet56-resnet20/wttm").published
    {'teacher': 72.34, 'student': 69.06, 'distilled': 71.92}
    """

    name: str
    title: str
    source: str
    published: dict[str, float | None]
    spec: dict[str, Any]


class ModelSize(ApiModel):
    """Size of a model. None where the service does not know it.

    >>> client.jobs.validate(student="cifar/resnet20", dataset=dataset, method="ce").student.input_size
    [3, 32, 32]
    """

    architecture: str
    parameters: int | None
    macs: int | None
    input_size: list[int] | None


class Dryrun(ApiModel):
    """The result of a dry run: the spec with defaults, model sizes, and an estimate from `similar_job`, the newest
    similar job, scaled to the number of epochs. The estimate is None without a similar job.

    >>> result = client.jobs.validate(student="cifar/resnet20", dataset=dataset, method="ce", training={"epochs": 30})
    >>> result.spec["training"]["epochs"], result.teachers
    (30, [])
    """

    spec: dict[str, Any]
    student: ModelSize | None
    teachers: list[ModelSize]
    checkpoints: list[Inspection | None] = Field(default_factory=list)
    teacher_store_bytes_per_image: int | None
    similar_job: str | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
