"""StudySpec: a target, the students to try, and the budget. The body of POST /studies. Torch-free."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from ttm_core.spec.base import RunName, Spec, by_name, first_fault, or_short
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.job import DistillSpec, ExportName, StudentSpec, TeacherSpec, exported
from ttm_core.spec.method.methods import CrossEntropy, MethodSpec, WeightedTransformedTeacherMatching
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.study import search as searches
from ttm_core.spec.study.limits import Goal, LimitsSpec, Precision
from ttm_core.spec.study.search import SHARED, SearchSpace, Value
from ttm_core.spec.study.students import MAX_STUDENTS, Students, expand
from ttm_core.spec.training.training import TrainingSpec

MAX_CANDIDATES = 256
_FEWEST_EPOCHS, _DEFAULT_EPOCHS = 3, 30
# Stands in for a student of unknown architecture where none is trained: it can process images of every size.
STAND_IN = "resnet18"
# Fields of a study that its jobs have, too.
_SHARED_FIELDS = ("teacher", "dataset", "method", "training", "quantize")
# Fields that determine each other: setting one removes the other.
_COUPLED = {"method.gamma": "temperature", "method.temperature": "gamma"}


class BudgetSpec(Spec):
    """What a study may spend."""

    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = Field(
        27, description="Most candidates to train. More that meet the limits are not trained."
    )
    device_hours: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="Device hours after which no further rung starts: the best candidate goes to the final. "
        "Default: no limit.",
    )


@dataclass(frozen=True)
class CandidateSpec:
    """A student with its values of the search space, by field path."""

    number: int
    student: StudentSpec
    values: dict[str, Value]


class StudySpec(Spec):
    """A study: finds the student that meets limits best."""

    name: RunName | None = None
    teacher: Annotated[TeacherSpec, or_short(str | TeacherSpec)]
    dataset: Annotated[DatasetSpec, or_short(str | DatasetSpec)]
    limits: LimitsSpec
    goal: Goal | None = Field(
        None,
        description="What to optimize among the students that meet the limits. Default: smallest with a limit on "
        "retention or accuracy, else most_accurate.",
        validate_default=True,
    )
    method: Annotated[MethodSpec, by_name("kind", MethodSpec)] = Field(
        default_factory=lambda: WeightedTransformedTeacherMatching.model_validate({})
    )
    training: TrainingSpec = Field(
        TrainingSpec(),
        description="Training of a final run, as in a job. The study sets the seeds. `epochs` is 30 by default.",
        validate_default=True,
    )
    students: Students = Field(
        "auto",
        description="Students to try: architectures, student specs, and families such as "
        '`{"family": "mobilenetv3_*"}`. auto: the teacher pruned to 50, 30 and 15 % of its multiply-accumulates, and '
        "up to 24 architectures of the catalogue around the limits.",
        validate_default=True,
    )
    search: SearchSpace = Field(
        {},
        description="Values or ranges of fields of `method` and `training` to try with each student, such as "
        '`{"method.beta": [1, 2], "training.optimizer.learning_rate": {"log": [0.01, 0.2]}}`.',
    )
    budget: BudgetSpec = BudgetSpec()
    seeds: Annotated[int, Field(ge=1, le=10)] = Field(3, description="Runs of each finalist with different seeds.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of the first run of a candidate, and of the values drawn from ranges."
    )
    baseline: bool = Field(
        True, description="Train the recommended student on the labels alone, too, to measure what distillation adds."
    )
    screen_only: bool = Field(
        False, description="Measure the candidates and end: which of them meet the limits, without any training."
    )
    quantize: QuantizeSpec = Field(QuantizeSpec(), description="Quantization of complete runs, as in a job.")
    exports: Annotated[list[ExportName], Field(max_length=5)] = Field(
        ["timm", "onnx", "onnx_int8"],
        description="Export formats of the finalists, as in a job.",
        validate_default=True,
    )

    @property
    def resolved_goal(self) -> Goal:
        """The goal, or its default."""
        return self.goal or ("smallest" if self.limits.has_floor else "most_accurate")

    @property
    def resolved_precision(self) -> Precision:
        """`limits.precision`, where `any` is narrowed to the files that complete runs export."""
        int8 = "onnx_int8" in exported(self.exports, self.quantize)
        if self.limits.precision != "any" or (int8 and "onnx" in self.exports):
            return self.limits.precision
        return "int8" if int8 else "fp32"

    @field_validator("goal")
    @classmethod
    def _goal_has_a_floor(cls, goal: Goal | None, info: ValidationInfo) -> Goal | None:
        limits = info.data.get("limits")
        if limits is not None and goal in ("smallest", "fastest") and not limits.has_floor:
            raise ValueError(
                f"goal {goal!r} requires limits.retention or limits.accuracy: without it, any model will do"
            )
        return goal

    @field_validator("exports")
    @classmethod
    def _exports_have_the_precision(cls, exports: list[ExportName], info: ValidationInfo) -> list[ExportName]:
        limits, quantize = info.data.get("limits"), info.data.get("quantize")
        if limits is None or quantize is None:
            return exports  # those fields have errors of their own
        needed: ExportName = "onnx_int8" if limits.precision == "int8" else "onnx"
        if needed not in exports and not (limits.precision == "any" and "onnx_int8" in exports):
            raise ValueError(f"exports must include {needed!r}: limits.precision is {limits.precision!r}")
        suffice = {needed, "onnx_int8"} if limits.precision == "any" else {needed}
        if suffice.isdisjoint(exported(exports, quantize)):
            raise ValueError(
                f"quantize.mode 'none' makes no int8 file, which limits.precision {limits.precision!r} needs with "
                "these exports: choose another mode, or limits.precision 'fp32' with 'onnx' in exports"
            )
        return exports

    @field_validator("method")
    @classmethod
    def _method_distills(cls, method: Any) -> Any:
        if isinstance(method, CrossEntropy):
            raise ValueError("a study compares distillation with labels alone: choose another method than 'ce'")
        return method

    @field_validator("training")
    @classmethod
    def _trials_have_equal_length(cls, training: TrainingSpec) -> TrainingSpec:
        if training.epochs is None:
            # The plan of a study precedes the reading of its data.
            training = training.model_copy(update={"epochs": _DEFAULT_EPOCHS})
        if training.epoch_count < _FEWEST_EPOCHS:
            raise ValueError(f"epochs must be at least {_FEWEST_EPOCHS}: candidates are compared before the last one")
        if training.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience is not supported: a study stops unpromising candidates itself")
        if training.views == "fit":
            raise ValueError("views 'fit' depends on the worker: set a number, which all trials share")
        return training

    @field_validator("students")
    @classmethod
    def _students_are_few_and_of_known_size(cls, students: Any, info: ValidationInfo) -> Any:
        if students != "auto" and any(isinstance(each, StudentSpec) and _unmeasured(each) for each in students):
            raise ValueError(
                "prune.latency_ms is for jobs: a study measures all its students, so set limits.latency_ms, and list "
                "students pruned by `macs`"
            )
        if info.data.keys() >= {"teacher", "limits"}:
            count = len(expand(students, info.data["teacher"], info.data["limits"]))
            if count > MAX_STUDENTS:
                raise ValueError(f"the families name {count} students; at most {MAX_STUDENTS} are allowed")
        return students

    @field_validator("search")
    @classmethod
    def _search_fits(cls, search: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if {"teacher", "dataset", "method", "training", "students", "limits"} - info.data.keys():
            return search  # those fields have errors of their own
        for path, dimension in search.items():
            if any(path == name or path.startswith(f"{name}.") for name in SHARED):
                raise ValueError(f"{path} cannot vary: all trials of a study share it")
            tried = dimension if isinstance(dimension, list) else [dimension.at(0.0), dimension.at(1.0)]
            for value in tried:
                _check_value(info.data, path, value)
        students = len(expand(info.data["students"], info.data["teacher"], info.data["limits"]))
        total = searches.size(search)
        if total is not None and students * total > MAX_CANDIDATES:
            raise ValueError(
                f"{students} students with {total} combinations are {students * total} candidates; at most "
                f"{MAX_CANDIDATES} are allowed. List fewer values, or use a range, which is sampled"
            )
        return search

    def candidates(self) -> list[CandidateSpec]:
        """All candidates, numbered from 1: each student with each combination of the search space."""
        students = expand(self.students, self.teacher, self.limits)
        total = searches.size(self.search)
        each = total or max(self.budget.candidates // max(len(students), 1), 1)
        values = searches.combinations(self.search, each, self.seed)
        pairs = [(student, combination) for student in students for combination in values]
        return [CandidateSpec(number, *pair) for number, pair in enumerate(pairs[:MAX_CANDIDATES], start=1)]

    def trial(
        self, student: StudentSpec, values: dict[str, Value], *, seed: int, baseline: bool = False
    ) -> DistillSpec:
        """The job of a candidate with the study's `seed`-th seed; with `baseline`, on the labels alone."""
        fields = _job_fields(self.model_dump(mode="json"), student)
        for path, value in values.items():
            if not (baseline and path.startswith("method.")):
                _set(fields, path, value)
        fields["training"]["seed"] = self.seed + seed
        fields["exports"] = list(self.exports)
        if baseline:
            fields |= {"method": {"kind": "ce"}}
            fields["training"] |= {"teacher_logits": None, "unlabelled_ratio": None}
            fields["dataset"]["unlabelled"] = []
        return DistillSpec.model_validate(fields)

    def stage(self, student: StudentSpec) -> DistillSpec:
        """The job of a stage that trains no student, as of a candidate but without its checkpoint.

        All candidates depend on this job, so files of one of them must not fail it.
        """
        if student.checkpoint is not None:
            student = StudentSpec(
                architecture=student.named_architecture or STAND_IN,
                image_size=student.image_size,
                normalization=student.normalization,
            )
        return self.trial(student, {}, seed=0)


def _unmeasured(student: StudentSpec) -> bool:
    return student.prune is not None and student.prune.unmeasured


def _job_fields(study: dict[str, Any], student: StudentSpec) -> dict[str, Any]:
    shared = {name: study[name] for name in _SHARED_FIELDS}
    return {**shared, "student": student.model_dump(mode="json")}


def _set(fields: dict[str, Any], path: str, value: Value) -> None:
    *parents, name = path.split(".")
    part = fields
    for parent in parents:
        part = part.setdefault(parent, {})
        if not isinstance(part, dict):
            raise ValueError(f"{path} does not exist")
    if path in _COUPLED:
        part.pop(_COUPLED[path], None)
    part[name] = value


def _check_value(study: dict[str, Any], path: str, value: Value) -> None:
    """Raises ValueError if a value does not fit the field."""
    dumped = {name: study[name].model_dump(mode="json") for name in _SHARED_FIELDS if name in study}
    dumped.setdefault("quantize", {})
    fields = _job_fields(dumped, StudentSpec(architecture="cifar/resnet20"))
    try:
        _set(fields, path, value)
        DistillSpec.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{path} = {value!r} is not valid: {first_fault(error)}") from None
