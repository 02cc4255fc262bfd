"""`report.json`: what is measured of a finished student, its teacher beside it. Torch-free.

Documented in docs/reference/report.md. A change that a reader could trip over raises `Report.version`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.events import Accuracy, Estimate, Reference
from ttm_core.spec.job import ExportName


class _Part(BaseModel):
    # NaN and Infinity are no JSON numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Scores(_Part):
    """A model on a split, against its labels or what stands for them. Shares lie in [0, 1]."""

    top1: float
    top5: float | None = Field(description="None where there are five classes or fewer.")
    loss: float = Field(description="Mean cross-entropy, nats.")
    calibration_error: float = Field(description="Expected calibration error over 15 bins of equal width.")


class ClassScores(_Part):
    """One class on a split: top-1 accuracy among its images, None where it has none."""

    name: str
    images: int
    student: float | None
    teacher: float | None


class SplitScores(_Part):
    """Student and teacher on the same images of a split."""

    images: int
    against: Reference = Field(
        "labels",
        description="What scores are against: the labels, or for images without, the class that the teacher gives.",
    )
    student: Scores
    teacher: Scores | None = Field(description="None without a teacher, and where its own answers stand for labels.")
    agreement: float | None = Field(description="Share of images to which both give the same class.")
    divergence: float | None = Field(description="Mean KL(teacher || student), nats.")
    classes: list[ClassScores]
    lost_most: list[str] = Field(description="Classes on which the teacher is ahead, the widest gap first; at most 10.")

    @property
    def student_accuracy(self) -> Accuracy:
        return Accuracy(top1=self.student.top1, loss=self.student.loss, images=self.images, against=self.against)

    @property
    def teacher_accuracy(self) -> Accuracy | None:
        if self.teacher is None:
            return None
        return Accuracy(top1=self.teacher.top1, loss=self.teacher.loss, images=self.images)


class Latency(_Part):
    """Median seconds of a forward pass of a whole batch, images ready in memory."""

    batch_1: float
    batch_32: float


class Model(_Part):
    """What a model is and costs."""

    architecture: str
    image_size: int = Field(description="Side of the square input, pixels.")
    channels: int
    parameters: int
    macs: int | None = Field(description="Multiply-accumulates of one image; None where they could not be counted.")
    file_bytes: int
    latency: Latency


class Device(_Part):
    """Where latencies were measured."""

    name: str
    threads: int
    torch: str


class Run(_Part):
    """What the run was and took."""

    method: str
    epochs: int
    best_epoch: int = Field(description="The epoch whose weights the student has.")
    steps: int
    train_images: int
    seconds: float = Field(description="From the start of the last attempt to the end of training and evaluation.")
    training_seconds: float | None = Field(
        None, description="From the first step to the last, over all attempts: what `estimate.seconds` foretold."
    )
    estimate: Estimate | None = Field(None, description="Made before the first step, from a few steps on copies.")
    teacher_forwards: int | None = Field(
        description="Images that the last attempt ran the teacher on to fill its store."
    )
    teacher_cache_hits: int | None = Field(description="Images whose logits it read without having computed them.")


class ExportedFile(_Part):
    """A form of the student beside student.safetensors, or why it is missing."""

    format: ExportName
    file: str
    size: int | None = Field(None, description="Bytes; None where the file is missing.")
    reason: str | None = Field(None, description="Why it is missing.")
    difference: float | None = Field(None, description="Largest difference from PyTorch's logits.")
    top1: float | None = Field(None, description="Measured with this file on `split`.")
    split: Literal["validation", "test"] | None = None
    calibration_images: int | None = None


class Report(_Part):
    """A run's report."""

    version: Literal[1] = 1
    name: str | None = Field(description="Of the job.")
    student: Model
    teacher: Model | None
    device: Device
    validation: SplitScores
    test: SplitScores | None
    exports: list[ExportedFile]
    run: Run

    @property
    def judged(self) -> tuple[Literal["validation", "test"], SplitScores]:
        """The split whose numbers stand for the student: test where there is one."""
        return ("test", self.test) if self.test is not None else ("validation", self.validation)
