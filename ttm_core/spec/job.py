"""DistillSpec: the complete description of a run, and the body of POST /jobs.

Fields left at None are decided by the engine once it has seen the checkpoint and the data; the spec it then reports
has none left open. Torch-free, so that the API can import it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ttm_core.spec import catalogue, recipes
from ttm_core.spec.base import Spec, by_name, or_short
from ttm_core.spec.dataset import AugmentationSpec, DatasetSpec, Pixels, mixes
from ttm_core.spec.method.methods import MethodSpec, WeightedTransformedTeacherMatching
from ttm_core.spec.optimizer.optimizers import Cosine, EmaSpec, GradientClipping, OptimizerSpec, ScheduleSpec, Sgd

Channels = Annotated[list[float], Field(min_length=1, max_length=4)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
ArchitectureName = Annotated[str, Field(min_length=1, max_length=128)]
ExportName = Literal["timm", "onnx", "onnx_int8"]


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
    weight: Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="Of this teacher's distribution in the mean, beside the weights of the others."
    )
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
    freeze: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] = Field(
        [], description="Parameters of `checkpoint` that stay as they are: shell patterns such as `layer1.*`."
    )
    drop_path: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Stochastic depth of the last block, the others' rising to it; for timm's models that have it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_architecture(cls, data: Any) -> Any:
        return {"architecture": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _frozen_weights_exist(self) -> Self:
        if self.freeze and self.checkpoint is None:
            raise ValueError("freeze keeps the weights of `checkpoint`, and none is given")
        if self.drop_path and self.architecture.startswith(("cifar/", "mini/")):
            raise ValueError(f"{self.architecture} has no paths to drop: leave drop_path out")
        return self


class TrainingSpec(Spec):
    """How the student is trained."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    optimizer: Annotated[OptimizerSpec, by_name("name", OptimizerSpec)] = Sgd()
    schedule: Annotated[ScheduleSpec, by_name("kind", ScheduleSpec)] = Cosine()
    augmentation: Annotated[AugmentationSpec, by_name("kind", AugmentationSpec)] | None = Field(
        None, description="crop_flip for images up to 64 px, resized_crop above, when left out."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of a label that is spread over all classes, in the cross-entropy with the labels."
    )
    gradient_clipping: Annotated[GradientClipping | None, or_short(GradientClipping | float | None)] = Field(
        None, description="A bound on gradients; a number bounds their norm."
    )
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Parts that a batch is worked off in, one after another: less memory, the same step size."
    )
    ema: Annotated[EmaSpec | None, or_short(EmaSpec | float | None)] = Field(
        None, description="Validate and keep a moving average of the weights; a number is its decay."
    )
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after this many epochs without a better validation accuracy."
    )
    views: Annotated[int, Field(ge=1, le=100_000)] | Literal["fit"] | None = Field(
        None,
        description="Different augmented views of each image, taken in turn by the epochs; one an epoch when left out. "
        "Where the teacher's logits are stored, fewer views cost fewer runs of the teacher. fit: as many as the store "
        "has room for, one an epoch at most.",
    )
    teacher_logits: Literal["online", "stored"] | None = Field(
        None,
        description="stored keeps the teacher's logits of a view as float16, for later epochs and for every job with "
        "the same teacher, data and augmentation; online runs the teacher at each step. Decided by the engine when "
        "left out.",
    )
    stored_as: Literal["float16", "int8"] = Field(
        "float16", description="Of stored logits: int8 takes half the space and is as near as a 254th of a row's range."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the models' arithmetic; float16 needs a GPU. Weights and losses stay float32."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="CPU threads; fixed by the first attempt, since another number gives other bits."
    )
    devices: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="GPUs of one machine (or processes, where it has none) that share each batch: `batch_size` counts "
        "the images of all of them, and batch norms see each device's own.",
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0

    @property
    def view_count(self) -> int:
        """Views of each image that the epochs take in turn, of a spec that leaves none open."""
        assert self.views != "fit", "the engine has decided how many fit"
        return self.views or self.epochs

    @model_validator(mode="after")
    def _parts_have_two_images(self) -> Self:
        parts = self.gradient_accumulation * self.devices
        if self.batch_size < 2 * parts:
            raise ValueError(
                f"{parts} parts of a batch of {self.batch_size} have fewer than two images each, on which "
                "batch norm cannot train"
            )
        return self


def _student_may_come_from_a_recipe(schema: dict[str, Any]) -> None:
    schema["required"].remove("student")


class DistillSpec(Spec):
    """A distillation run: teacher, student, data, method, training."""

    model_config = ConfigDict(json_schema_extra=_student_may_come_from_a_recipe)

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    recipe: Annotated[str, Field(max_length=200)] | None = Field(
        None,
        description="A published run to start from, such as `cifar100/resnet56-resnet20/wttm`: all that it says "
        "and this spec does not is taken from it.",
    )
    teacher: Annotated[TeacherSpec | None, or_short(str | TeacherSpec | None)] = Field(
        None, description="Needed by every method but ce."
    )
    teachers: (
        Annotated[list[Annotated[TeacherSpec, or_short(str | TeacherSpec)]], Field(min_length=2, max_length=8)] | None
    ) = Field(
        None,
        description="Several teachers instead of one: their distributions at the method's temperature, averaged.",
    )
    student: Annotated[StudentSpec, or_short(str | StudentSpec)]
    dataset: Annotated[DatasetSpec, or_short(str | DatasetSpec)]
    method: Annotated[MethodSpec, by_name("kind", MethodSpec)] = Field(
        default_factory=lambda: WeightedTransformedTeacherMatching.model_validate({})
    )
    training: TrainingSpec = TrainingSpec()
    exports: Annotated[list[ExportName], Field(max_length=3)] = Field(
        ["timm", "onnx", "onnx_int8"],
        description="Forms of the student beside student.safetensors: a folder that timm opens, ONNX, int8 ONNX.",
    )

    @property
    def all_teachers(self) -> list[TeacherSpec]:
        """None, one or several."""
        return [self.teacher] if self.teacher is not None else self.teachers or []

    @model_validator(mode="before")
    @classmethod
    def _expand_recipe(cls, data: Any) -> Any:
        return recipes.expand(data) if isinstance(data, dict) and isinstance(data.get("recipe"), str) else data

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> Self:
        requirements = self.method.requirements
        if self.teacher is not None and self.teachers is not None:
            raise ValueError("give `teacher` or `teachers`, not both")
        if requirements.teacher and not self.all_teachers:
            raise ValueError(f"method {self.method.kind!r} learns from a teacher: give `teacher`, or use method 'ce'")
        if self.teachers is not None and requirements.one_teacher:
            raise ValueError(
                f"method {self.method.kind!r}, as asked for here, takes of a teacher what cannot be averaged over "
                "several (features, relations between classes, standardized logits): give one `teacher`"
            )
        if self.training.teacher_logits == "stored" and not requirements.stored_logits_suffice:
            raise ValueError(
                f"method {self.method.kind!r} wants more of the teacher than logits (or nothing at all), and only "
                "logits are stored: leave training.teacher_logits out"
            )
        if mixes(self.training.augmentation) and not requirements.mixes:
            raise ValueError(
                f"method {self.method.kind!r}, with its features, cannot learn from a mixture of two images: leave "
                "training.augmentation.mix out"
            )
        if self.training.devices > 1 and requirements.remembers_images:
            raise ValueError(
                "crd remembers features of every image, and each of several devices would see those of a part of them: "
                "use one device"
            )
        if requirements.features == "tokens":
            assert self.teacher is not None, "features ask for one teacher"
            for who, name in (("student", self.student.architecture), ("teacher", self.teacher.architecture)):
                if name is not None and not catalogue.has_tokens(name):
                    raise ValueError(
                        f"vitkd matches the patch tokens of two vision transformers, and {who} {name!r} is none"
                    )
        return self
