"""DistillSpec: the complete description of a run, and the body of POST /jobs.

Fields left at None are decided by the engine once it has seen the checkpoint and the data; the spec it then reports
has none left open. Torch-free, so that the API can import it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ttm_core.base import Spec
from ttm_core.data.specs import AugmentationSpec, DatasetSpec, Pixels
from ttm_core.methods.specs import MethodSpec, WeightedTransformedTeacherMatching
from ttm_core.optim.specs import Cosine, OptimizerSpec, ScheduleSpec, Sgd, by_name

Channels = Annotated[list[float], Field(min_length=1, max_length=4)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
ArchitectureName = Annotated[str, Field(min_length=1, max_length=128)]


class Normalization(Spec):
    """Per-channel mean and standard deviation on pixels scaled to [0, 1]."""

    mean: Channels
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=4)]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std need one number for each channel, the same channels in both")
        return self


class TeacherSpec(Spec):
    """The frozen large model. A string is short for `{"checkpoint": ...}`."""

    checkpoint: Uri
    architecture: ArchitectureName | None = Field(None, description="Read from the file's metadata when left out.")
    num_classes: Annotated[int, Field(ge=2, le=100_000)] | None = None
    normalization: Normalization | None = None
    class_map: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=100_000)] | None = Field(
        None, description="For each class of the dataset, its index among the teacher's; from the names when left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_checkpoint(cls, data: Any) -> Any:
        return {"checkpoint": data} if isinstance(data, str) else data


class StudentSpec(Spec):
    """The small model to train. A string is short for `{"architecture": ...}`."""

    architecture: ArchitectureName
    checkpoint: Uri | None = Field(None, description="Weights to start from; its classifier may differ in size.")
    image_size: Pixels | None = Field(None, description="Side of the square input in pixels.")
    normalization: Normalization | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_architecture(cls, data: Any) -> Any:
        return {"architecture": data} if isinstance(data, str) else data


class TrainingSpec(Spec):
    """How the student is trained."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    optimizer: Annotated[OptimizerSpec, BeforeValidator(lambda data: by_name(data, "name"))] = Sgd()
    schedule: Annotated[ScheduleSpec, BeforeValidator(lambda data: by_name(data, "kind"))] = Cosine()
    augmentation: Annotated[AugmentationSpec, BeforeValidator(lambda data: by_name(data, "kind"))] | None = Field(
        None, description="crop_flip for images up to 64 px, resized_crop above, when left out."
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="CPU threads; fixed by the first attempt, since another number gives other bits."
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0


class DistillSpec(Spec):
    """A distillation run: teacher, student, data, method, training."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    teacher: TeacherSpec | None = Field(None, description="Needed by every method but ce.")
    student: StudentSpec
    dataset: DatasetSpec
    method: Annotated[MethodSpec, BeforeValidator(lambda data: by_name(data, "kind"))] = Field(
        default_factory=lambda: WeightedTransformedTeacherMatching.model_validate({})
    )
    training: TrainingSpec = TrainingSpec()

    @model_validator(mode="after")
    def _method_has_its_teacher(self) -> Self:
        if self.teacher is None and self.method.kind != "ce":
            raise ValueError(f"method {self.method.kind!r} learns from a teacher: give `teacher`, or use method 'ce'")
        return self
