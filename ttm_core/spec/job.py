"""DistillSpec: the complete description of a run, and the body of POST /jobs.

The engine resolves fields that are None from the checkpoint and the data, and reports the complete spec. Torch-free, so
that the API can import it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ttm_core.spec import catalogue, recipes
from ttm_core.spec.base import ArchitectureName, CheckpointKey, CheckpointUri, RunName, Spec, by_name, or_short
from ttm_core.spec.damage.files import ReportSpec
from ttm_core.spec.dataset import DatasetSpec, Pixels, mixes
from ttm_core.spec.method.methods import MethodSpec, WeightedTransformedTeacherMatching
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.student.student import StudentSpec
from ttm_core.spec.training.training import TrainingSpec

KeyPrefix = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
KeyMap = Annotated[dict[KeyPrefix, KeyPrefix], Field(min_length=1, max_length=10_000)]
ExportName = Literal["timm", "onnx", "onnx_fp16", "onnx_int8", "pt2"]


def exported(exports: Sequence[ExportName], quantize: QuantizeSpec) -> list[ExportName]:
    """The formats that a run writes: without int8 if `quantize.mode` is none."""
    return [name for name in exports if name != "onnx_int8" or quantize.mode != "none"]


class TeacherSpec(Spec):
    """The teacher: a frozen, trained model. A string is short for `{"checkpoint": ...}`."""

    checkpoint: CheckpointUri
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
    checkpoint_key: CheckpointKey | None = Field(
        None,
        description="The model in a checkpoint that has several: its key or the prefix of its tensors, such as "
        "`teacher` or `state_dict_ema`. Default: the one that fits the architecture; of several, averaged weights, "
        "then a teacher.",
    )
    output: Literal["logits", "probabilities"] | None = Field(
        None, description="For ONNX files: what they return. Default: read from the last operators of the graph."
    )
    image_size: Pixels | None = Field(
        None,
        description="Side of the square input in pixels. Default: read from the file or the description of published "
        "weights, else the architecture's for models of one size, such as vision transformers, else that of the "
        "student's input.",
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


def _student_is_optional_with_recipe(schema: dict[str, Any]) -> None:
    schema["required"].remove("student")


class DistillSpec(Spec):
    """A distillation run: teacher, student, data, method, training."""

    model_config = ConfigDict(json_schema_extra=_student_is_optional_with_recipe)

    name: RunName | None = None
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
    exports: Annotated[list[ExportName], Field(max_length=5)] = Field(
        ["timm", "onnx", "onnx_int8"],
        description="Export formats in addition to student.safetensors. timm: a folder for timm. onnx, onnx_fp16, "
        "onnx_int8: ONNX in float32, float16 and int8. pt2: a program of torch.export.",
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
        # The default of `exports` has int8 as well, so only a spec that asks for nothing else is contradictory.
        if self.exports and not exported(self.exports, self.quantize):
            raise ValueError(
                "quantize.mode 'none' makes no int8 file, and exports has only 'onnx_int8': choose another mode, or "
                "other exports"
            )
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
