"""The schema of `report.json`: measurements of a finished student and its teacher. Torch-free.

docs/reference/report.md documents it. `Report.version` goes up with every incompatible change.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.events import Accuracy, Estimate, Reference
from ttm_core.spec.job import ExportName
from ttm_core.spec.speed.measurement import FileMeasurement, FileProfile
from ttm_core.spec.speed.verdict import Precision, Recommendation
from ttm_core.spec.structure import ModelStructure


class _Part(BaseModel):
    # JSON has no NaN and no Infinity.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Scores(_Part):
    """Scores of one model on a split. Shares are in [0, 1]."""

    top1: float
    top5: float | None = Field(description="None with five classes or fewer.")
    loss: float = Field(description="Mean cross-entropy in nats.")
    calibration_error: float = Field(description="Expected calibration error over 15 bins of equal width.")


class ClassScores(_Part):
    """Top-1 accuracy among the images of one class; None where the split has none."""

    name: str
    images: int
    student: float | None
    teacher: float | None


class SplitScores(_Part):
    """Scores of student and teacher on the same images."""

    images: int
    against: Reference = Field(
        "labels",
        description="What predictions are compared with: the labels, or the teacher's predictions for images without.",
    )
    student: Scores
    teacher: Scores | None = Field(
        description="None without a teacher, and where the teacher's predictions are the labels."
    )
    change_points: float | None = Field(
        None,
        description="Accuracy change against the teacher: top-1 of the student minus the teacher's, in percentage "
        "points. Negative is worse than the teacher.",
    )
    retention_percent: float | None = Field(
        None, description="Retention: the student's top-1 in % of the teacher's. None for a teacher with a top-1 of 0."
    )
    agreement: float | None = Field(description="Share of images for which both predict the same class.")
    divergence: float | None = Field(description="Mean KL(teacher || student) in nats.")
    classes: list[ClassScores]
    lost_most: list[str] = Field(
        description="Up to ten classes on which the teacher is more accurate, largest difference first."
    )

    @property
    def student_accuracy(self) -> Accuracy:
        return Accuracy(top1=self.student.top1, loss=self.student.loss, images=self.images, against=self.against)

    @property
    def teacher_accuracy(self) -> Accuracy | None:
        if self.teacher is None:
            return None
        return Accuracy(top1=self.teacher.top1, loss=self.teacher.loss, images=self.images)


def accuracy_change(student: Scores, teacher: Scores | None) -> tuple[float | None, float | None]:
    """`change_points` and `retention_percent` of a student against its teacher."""
    if teacher is None:
        return None, None
    retention = round(100 * student.top1 / teacher.top1, 4) if teacher.top1 > 0 else None
    return round(100 * (student.top1 - teacher.top1), 4), retention


class Model(_Part):
    """Size and cost of a model."""

    architecture: str
    structure: ModelStructure | None = Field(
        None, description="Everything that determines the model's layers. None for several teachers."
    )
    image_size: int = Field(description="Side of the square input in pixels.")
    channels: int
    parameters: int
    macs: int | None = Field(description="Multiply-accumulates of one image; None where they could not be counted.")
    file_bytes: int

    @property
    def label(self) -> str:
        """The architecture, and whether it was pruned."""
        pruned = self.structure is not None and self.structure.pruning
        return f"{self.architecture}, pruned" if pruned else self.architecture


class Device(_Part):
    """The device that the run trained on."""

    name: str
    threads: int
    torch: str


class Run(_Part):
    """The method, length and duration of the run."""

    method: str
    epochs: int
    best_epoch: int = Field(description="The epoch that the student's weights come from.")
    steps: int
    train_images: int
    unlabelled_images: int = Field(0, description="Training images without a label.")
    seconds: float = Field(description="From the start of the last attempt to the end of training and evaluation.")
    training_seconds: float | None = Field(
        None, description="From the first step to the last, over all attempts; compare with `estimate.seconds`."
    )
    estimate: Estimate | None = Field(
        None, description="Estimated before the first step by timing a few steps on copies of the models."
    )
    teacher_forwards: int | None = Field(
        description="Images that the last attempt ran the teacher on to fill its store."
    )
    teacher_cache_hits: int | None = Field(
        description="Images whose logits the last attempt read from the store without computing them."
    )
    reproducible: bool = Field(True, description="Whether an equal run gives the bit-identical student.")


class QuantizationCandidate(_Part):
    """An int8 file that was compared with the float32 file on validation images."""

    calibration: str = Field(description="How ranges of activations were set: min_max, percentile, mse or entropy.")
    float_layers: list[str] = Field(description="Layers that stay in float32.")
    agreement: float = Field(description="Share of images with the float32 file's class.")
    error: float = Field(description="Mean squared difference of the logits, divided by their variance.")
    change_points: float = Field(description="Top-1 minus the float32 file's on these images, in percentage points.")


class QuantizationAware(_Part):
    """Training of the fake-quantized student after post-training quantization."""

    epochs: int
    top1_before: float = Field(description="Validation accuracy of the file by post-training quantization.")
    top1_after: float | None = Field(description="Of the trained file; None if the training failed.")
    agreement: float | None = Field(
        description="Share of validation images for which the training's simulation and ONNX Runtime predict the same "
        "class."
    )
    exported: bool = Field(
        description="Whether the trained file was exported: it is more accurate, and `agreement` is at least 0.98."
    )
    reason: str | None = Field(None, description="Why the training failed.")


class Quantization(_Part):
    """How an int8 file was chosen."""

    calibration_images: int = Field(description="Training images that set the ranges of activations.")
    validation_images: int
    validation_top1: float | None = Field(None, description="Top-1 accuracy of the file on all validation images.")
    chosen: QuantizationCandidate
    tried: list[QuantizationCandidate]
    aware: QuantizationAware | None = Field(None, description="None without quantization-aware training.")


class ExportedFile(_Part):
    """One export format of the student, or the reason why it is missing."""

    format: ExportName
    file: str
    size: int | None = Field(None, description="Bytes; None where the file is missing.")
    reason: str | None = Field(None, description="Why the file is missing.")
    difference: float | None = Field(None, description="Largest difference from PyTorch's logits.")
    precision: Precision | None = Field(None, description="Of an ONNX file; None for other formats.")
    top1: float | None = Field(
        None,
        description="Top-1 accuracy on `split`. The float32 ONNX file and the program of torch.export have the "
        "student's: their logits are equal.",
    )
    split: Literal["validation", "test"] | None = None
    agreement: float | None = Field(
        None,
        description="Of a float16 file and a program of torch.export: the share of up to 512 images of `split` for "
        "which the file predicts the student's class.",
    )
    quantization: Quantization | None = Field(None, description="Of an int8 file.")


class Report(_Part):
    """A run's report."""

    version: Literal[1] = 1
    name: str | None = Field(description="The job's name.")
    student: Model
    teacher: Model | None
    compression_ratio: float | None = Field(
        None, description="The teacher's parameters divided by the student's; below 1 the student is larger."
    )
    device: Device
    validation: SplitScores
    test: SplitScores | None
    exports: list[ExportedFile]
    measurements: list[FileMeasurement] = Field(
        [], description="Latency and memory of the ONNX files in ONNX Runtime on the worker."
    )
    teacher_measurements: list[FileMeasurement] = Field(
        [], description="The same of the teacher, exported for this purpose. Empty if it cannot be exported."
    )
    profiles: list[FileProfile] = Field([], description="Per-layer and per-operator time of the ONNX files.")
    recommendations: list[Recommendation] = Field([], description="The file to ship on the worker's CPU.")
    run: Run

    @property
    def headline(self) -> tuple[Literal["validation", "test"], SplitScores]:
        """The split whose scores represent the student: test where there is one, else validation."""
        return ("test", self.test) if self.test is not None else ("validation", self.validation)
