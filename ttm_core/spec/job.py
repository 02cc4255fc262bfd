"""DistillSpec: the complete description of a run, and the body of POST /jobs.

The engine resolves fields that are None from the checkpoint and the data, and reports the complete spec. Torch-free, so
that the API can import it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ttm_core.spec import catalogue, recipes
from ttm_core.spec.base import ArchitectureName, Spec, Uri, by_name, or_short
from ttm_core.spec.damage.files import ReportSpec
from ttm_core.spec.dataset import AugmentationSpec, DatasetSpec, Pixels, mixes
from ttm_core.spec.method.methods import MethodSpec, WeightedTransformedTeacherMatching
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.optimizer.optimizers import Cosine, EmaSpec, GradientClipping, OptimizerSpec, ScheduleSpec, Sgd
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.student.student import StudentSpec

KeyPrefix = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
KeyMap = Annotated[dict[KeyPrefix, KeyPrefix], Field(min_length=1, max_length=10_000)]
ExportName = Literal["timm", "onnx", "onnx_int8"]


class TeacherSpec(Spec):
    """The teacher: a frozen, trained model. A string is short for `{"checkpoint": ...}`."""

    checkpoint: Uri
    architecture: ArchitectureName | None = Field(None, description="Default: read from the metadata of the file.")
    num_classes: Annotated[int, Field(ge=2, le=100_000)] | None = Field(
        None, description="Number of classes of the checkpoint. Default: read from its classifier."
    )
    normalization: Normalization | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="Weight of this teacher in the mean of several teachers' distributions."
    )
    class_map: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=100_000)] | None = Field(
        None,
        description="Index of each class of the dataset among the teacher's classes. Default: matched by name.",
    )
    key_map: KeyMap | None = Field(
        None,
        description="Prefixes of tensor names in the checkpoint and what replaces them, such as "
        '`{"encoder.": "", "linear.": "fc."}`. The longest matching prefix applies. `POST /uploads/{id}/inspect` '
        "proposes a map.",
    )
    output: Literal["logits", "probabilities"] | None = Field(
        None, description="For ONNX files: what they return. Default: read from the last operators of the graph."
    )
    image_size: Pixels | None = Field(
        None,
        description="Side of the square input in pixels, unless the file says. Default: the architecture's for models "
        "of one size, such as vision transformers, else that of the student's input.",
    )
    identity_shortcuts: Literal["centered", "appended"] = Field(
        "centered",
        description="For CIFAR ResNets whose shortcuts have no parameters (option A of He et al. 2015): where the zero "
        "channels are, on both sides or after the image's channels.",
    )
    allow_chance: bool = Field(
        False, description="Train even if the teacher's validation accuracy is not above chance, instead of failing."
    )

    @property
    def named_architecture(self) -> str | None:
        """The architecture, or that of the published weights; None if only the file states it."""
        return self.architecture or catalogue.published_name(self.checkpoint)

    @model_validator(mode="before")
    @classmethod
    def _from_checkpoint(cls, data: Any) -> Any:
        return {"checkpoint": data} if isinstance(data, str) else data


class TrainingSpec(Spec):
    """Training of the student."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    unlabelled_ratio: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="Unlabelled images per labelled image in every batch, for datasets with both. An epoch uses each "
        "labelled image once. Default: by size, so that an epoch uses each image once.",
    )
    optimizer: Annotated[OptimizerSpec, by_name("name", OptimizerSpec)] = Sgd()
    schedule: Annotated[ScheduleSpec, by_name("kind", ScheduleSpec)] = Cosine()
    augmentation: Annotated[AugmentationSpec, by_name("kind", AugmentationSpec)] | None = Field(
        None, description="Default: crop_flip for images up to 64 px, resized_crop for larger ones."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share of each label that is distributed over all classes, in the cross-entropy with the labels.",
    )
    gradient_clipping: Annotated[GradientClipping | None, or_short(GradientClipping | float | None)] = Field(
        None, description="Limit on gradients. A number limits their norm."
    )
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Number of parts a batch is split into, to use less memory with the same step size."
    )
    ema: Annotated[EmaSpec | None, or_short(EmaSpec | float | None)] = Field(
        None, description="Validate and save a moving average of the weights. A number sets its decay."
    )
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after this number of epochs without an improvement of validation accuracy."
    )
    views: Annotated[int, Field(ge=1, le=100_000)] | Literal["fit"] | None = Field(
        None,
        description="Number of augmented views per image, which the epochs use in rotation. Default: one per "
        "epoch. With "
        "stored teacher logits, fewer views mean fewer teacher forward passes. fit: as many as fit into the store, at "
        "most one per epoch.",
    )
    teacher_logits: Literal["online", "stored"] | None = Field(
        None,
        description="stored: compute the teacher's logits of each view once and reuse them in later epochs and in jobs "
        "with the same teacher, data and augmentation. online: run the teacher at every step. Default: stored if the "
        "worker has a store with enough space.",
    )
    stored_as: Literal["float16", "int8"] = Field(
        "float16",
        description="Encoding of stored logits. int8 needs half the space; its error is at most 1/508 of a row's "
        "range.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of forward passes; weights, losses and statistics stay float32. auto: bfloat16 where "
        "the device has units for it (CPUs with AMX-BF16 or AVX512-BF16, except for students with depthwise "
        "convolutions; GPUs since Ampere), else float32. float16 requires a GPU.",
    )
    teacher_precision: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Precision of the teacher's forward passes. Default: `precision`."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the initial weights, the order of the images and dropout."
    )
    view_seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0,
        description="Seed of the augmented views. Runs with equal view seeds share stored teacher logits, whatever "
        "their `seed`.",
    )
    tf32: bool = Field(
        True, description="On GPUs, compute float32 matrix products and convolutions with TF32 (10 bits of mantissa)."
    )
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="CPU threads. Later attempts use the same number, because it affects rounding."
    )
    devices: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="GPUs of one machine (or processes without a GPU) that share each batch. `batch_size` is the "
        "total over "
        "all devices. Batch norms use the images of each device.",
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60.0, description="Seconds between checkpoints."
    )

    @property
    def view_count(self) -> int:
        """The number of views per image of a resolved spec."""
        assert self.views != "fit", "the engine resolves 'fit'"
        return self.views or self.epochs

    @model_validator(mode="after")
    def _parts_have_two_images(self) -> Self:
        parts = self.gradient_accumulation * self.devices
        if self.batch_size < 2 * parts:
            raise ValueError(
                f"batch_size must be at least {2 * parts}: batch norm needs two images in each of the {parts} "
                "parts of a batch "
                "(gradient_accumulation * devices)"
            )
        return self


def _student_is_optional_with_recipe(schema: dict[str, Any]) -> None:
    schema["required"].remove("student")


class DistillSpec(Spec):
    """A distillation run: teacher, student, data, method, training."""

    model_config = ConfigDict(json_schema_extra=_student_is_optional_with_recipe)

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    recipe: Annotated[str, Field(max_length=200)] | None = Field(
        None,
        description="Recipe that provides defaults, such as `cifar100/resnet56-resnet20/wttm`. Fields of this spec "
        "override "
        "it.",
    )
    teacher: Annotated[TeacherSpec | None, or_short(str | TeacherSpec | None)] = Field(
        None, description="Required by every method except ce."
    )
    teachers: (
        Annotated[list[Annotated[TeacherSpec, or_short(str | TeacherSpec)]], Field(min_length=2, max_length=8)] | None
    ) = Field(
        None,
        description="Several teachers instead of one: the mean of their distributions at the method's temperature.",
    )
    student: Annotated[StudentSpec, or_short(str | StudentSpec)]
    dataset: Annotated[DatasetSpec, or_short(str | DatasetSpec)]
    method: Annotated[MethodSpec, by_name("kind", MethodSpec)] = Field(
        default_factory=lambda: WeightedTransformedTeacherMatching.model_validate({})
    )
    training: TrainingSpec = TrainingSpec()
    quantize: QuantizeSpec = QuantizeSpec()
    exports: Annotated[list[ExportName], Field(max_length=3)] = Field(
        ["timm", "onnx", "onnx_int8"],
        description="Export formats in addition to student.safetensors: a folder for timm, ONNX, and int8 ONNX.",
    )
    report: ReportSpec = ReportSpec()

    @property
    def all_teachers(self) -> list[TeacherSpec]:
        """The list of zero, one or several teachers."""
        return [self.teacher] if self.teacher is not None else self.teachers or []

    @property
    def student_label(self) -> str:
        """A short description of the student for lists: its architecture, if the spec has one, and its origin."""
        prune = self.student.prune
        if prune is None:
            label = self.student.architecture or self.student.checkpoint
            assert label is not None, "StudentSpec requires one of them"
            return label
        teacher = self.teacher.architecture if self.teacher is not None else None
        return f"{teacher or 'teacher'} pruned to {prune.target}"

    @model_validator(mode="before")
    @classmethod
    def _expand_recipe(cls, data: Any) -> Any:
        return recipes.expand(data) if isinstance(data, dict) and isinstance(data.get("recipe"), str) else data

    @model_validator(mode="after")
    def _meets_method_requirements(self) -> Self:
        requirements = self.method.requirements
        if self.teacher is not None and self.teachers is not None:
            raise ValueError("set `teacher` or `teachers`, not both")
        if requirements.teacher and not self.all_teachers:
            raise ValueError(f"method {self.method.kind!r} requires a teacher: set `teacher`, or use method 'ce'")
        if self.teachers is not None and requirements.one_teacher:
            raise ValueError(
                f"method {self.method.kind!r} with these options supports one `teacher` only: features, class "
                "relations and "
                "standardized logits cannot be averaged over several teachers"
            )
        if self.training.teacher_logits == "stored" and not requirements.stored_logits_suffice:
            raise ValueError(
                f"training.teacher_logits cannot be 'stored' with method {self.method.kind!r} and these options: "
                "the method "
                "uses no teacher, or more than its logits"
            )
        if mixes(self.training.augmentation) and not requirements.mixes:
            raise ValueError(
                f"training.augmentation.mix is not supported by method {self.method.kind!r} with these features"
            )
        if not requirements.learns_without_labels:
            given = "dataset.unlabelled" if self.dataset.unlabelled else "training.unlabelled_ratio"
            if self.dataset.unlabelled or self.training.unlabelled_ratio is not None:
                raise ValueError(
                    f"{given} is not supported by method {self.method.kind!r}, which learns from labelled images only: "
                    "omit the field, or use wttm, ttm, kd or dist"
                )
        if self.training.devices > 1 and requirements.has_memory_bank:
            raise ValueError(
                "crd supports one device only: it keeps features of all images, and each device would see only its "
                "share"
            )
        self._check_origin_of_student()
        if requirements.features == "tokens":
            assert self.teacher is not None, "features require exactly one teacher"
            for role, name in (("student", self.student.architecture), ("teacher", self.teacher.architecture)):
                if name is not None and not catalogue.has_tokens(name):
                    raise ValueError(
                        f"vitkd requires two vision transformers with patch tokens; the {role} {name!r} is not one"
                    )
        return self

    def _check_origin_of_student(self) -> None:
        field = self.student.from_teacher
        if field is None:
            return
        if self.teachers is not None:
            raise ValueError(f"student.{field} requires one `teacher`, not several: the student has its weights")
        if self.teacher is None:
            raise ValueError(f"student.{field} requires `teacher`, the model that the student is made of")
