"""Experiments: sets of runs that are compared with each other."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Contender = Literal["service", "plain", "timm", "torchdistill"]
Values = Mapping[str, Any]
"""Values by field path of a job, such as `training.views`."""


@dataclass(frozen=True)
class StudySetting:
    """The students, limits and lengths of a study."""

    students: Sequence[str]
    limits: Mapping[str, float]
    epochs: int
    seeds: int


@dataclass(frozen=True)
class Setting:
    """The data, teacher, student and lengths that the experiments use.

    `teacher` is the job's field. `student` is of the teacher's family and has `share` of its multiply-accumulates.
    `photograph_teacher` and `onnx_teacher` are one network in two formats.
    `factors` times the default are tried for the main weight of each of `methods`. What needs a missing file is left
    out.
    """

    data_name: str
    data: Path
    teacher: Mapping[str, Any]
    student: str
    depthwise_student: str
    share: float
    training: Mapping[str, Any]
    seeds: int
    factors: Sequence[float]
    methods: Sequence[str]
    study: StudySetting
    fast: Mapping[str, Any]
    fastest: Mapping[str, Any]
    int8_epochs: int = 6
    unlabelled: Path | None = None
    more_classes: Path | None = None
    photographs: Path | None = None
    photograph_teacher: Path | None = None
    onnx_teacher: Path | None = None
    hub_student: str | None = None
    package_student: str | None = None


@dataclass(frozen=True)
class Variant:
    """One row of a table: the changes to the base spec, and values to choose from by validation accuracy."""

    name: str
    changes: Values = field(default_factory=dict)
    grid: Sequence[Values] = ()
    contender: Contender = "service"
    cold: bool = False
    """Whether every run has views of its own, so that it computes the teacher's logits itself, also those that a run of
    another variant with the same seed has computed."""


@dataclass(frozen=True)
class Experiment:
    """Variants of one base spec, each with the same seeds. `reference` is the variant that others are compared with."""

    name: str
    base: Mapping[str, Any]
    variants: Sequence[Variant]
    seeds: int
    reference: str

    def spec(self, variant: Variant, values: Values, seed: int) -> dict[str, Any]:
        """The body of `POST /jobs` of a run."""
        spec = deepcopy(dict(self.base))
        for path, value in {**variant.changes, **values}.items():
            set_field(spec, path, value)
        set_field(spec, "training.seed", seed)
        if variant.cold:
            cold = [each.name for each in self.variants if each.cold]
            set_field(spec, "training.view_seed", 1000 * (1 + cold.index(variant.name)) + seed)
        return spec


def set_field(spec: dict[str, Any], path: str, value: Any) -> None:
    """Sets the field at a dotted path; None removes it."""
    *parents, name = path.split(".")
    part = spec
    for parent in parents:
        part = part.setdefault(parent, {})
    if value is None:
        part.pop(name, None)
    else:
        part[name] = deepcopy(value)


def spec_hash(spec: Mapping[str, Any]) -> str:
    """SHA-256 of a spec, in which folders count only by their last part: results are valid on another machine."""
    return hashlib.sha256(json.dumps(_without_folders(spec), sort_keys=True).encode()).hexdigest()


def _without_folders(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _without_folders(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_without_folders(value) for value in part]
    if isinstance(part, str) and part.startswith("file://"):
        return part.rstrip("/").rsplit("/", 1)[-1]
    return part


def grid_runs(experiment: Experiment) -> Iterator[tuple[Variant, Values]]:
    """The runs that choose the values of variants, all with the first seed."""
    for variant in experiment.variants:
        for values in variant.grid:
            yield variant, values
