"""The students that a study tries: named ones, families, and automatic proposals from the catalogue."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from ttm_core.spec import catalogue
from ttm_core.spec.base import Spec, or_short
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import StudentSpec, TeacherSpec
from ttm_core.spec.student.pruning import PruneSpec
from ttm_core.spec.study.limits import LimitsSpec

MAX_STUDENTS = 64
_PROPOSED = 24
# Multiply-accumulates of the teacher pruned, as fractions of its own.
_PRUNED_FRACTIONS = (0.5, 0.3, 0.15)
# Catalogue sizes are those with 1,000 classes; a student often has fewer.
_MARGIN = 1.3
# Families that train from random weights and run well in ONNX Runtime on CPUs, as patterns of names.
_PROPOSED_FAMILIES = (
    *("efficientnet_lite*", "efficientnet_b[0-2]", "fbnetc_100", "ghostnet_*", "lcnet_*", "mnasnet_*"),
    *("mobilenetv2_*", "mobilenetv3_*", "mobilenetv4_conv_*", "regnetx_00*", "regnety_00*", "repvgg_a*"),
    *("resnet10t", "resnet14t", "resnet18", "resnet26", "resnet34", "resnet50", "semnasnet_*", "tinynet_*"),
)


class Family(Spec):
    """All architectures of the catalogue whose name matches a shell pattern, such as `mobilenetv3_*`."""

    family: Annotated[str, Field(min_length=1, max_length=128)]

    @field_validator("family")
    @classmethod
    def _matches_some(cls, pattern: str) -> str:
        found = len(matching(pattern))
        if found == 0:
            near = catalogue.nearest(pattern.strip("*"))
            hint = f" Similar names are {', '.join(near)}." if near else ""
            raise ValueError(f"no architecture matches {pattern!r}.{hint}")
        if found > MAX_STUDENTS:
            raise ValueError(f"{found} architectures match {pattern!r}; at most {MAX_STUDENTS} are allowed")
        return pattern


def _kind(data: Any) -> str:
    return "family" if isinstance(data, Family) or (isinstance(data, dict) and "family" in data) else "student"


Choice = Annotated[
    Annotated[Annotated[StudentSpec, or_short(str | StudentSpec)], Tag("student")] | Annotated[Family, Tag("family")],
    Discriminator(_kind),
]
Students = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[Annotated[list[Choice], Field(min_length=1, max_length=MAX_STUDENTS)], Tag("list")],
    Discriminator(lambda data: "list" if isinstance(data, list) else "auto"),
]


def matching(pattern: str) -> list[str]:
    """The names of the catalogue that match a shell pattern."""
    return [row.name for row in catalogue.all() if fnmatchcase(row.name, pattern)]


def expand(
    students: "Literal['auto'] | Sequence[StudentSpec | Family]", teacher: TeacherSpec, limits: LimitsSpec
) -> list[StudentSpec]:
    """The students to screen, in order and without duplicates."""
    if students == "auto":
        pruned = [StudentSpec(prune=PruneSpec(macs=fraction)) for fraction in _PRUNED_FRACTIONS]
        return [*pruned, *(StudentSpec(architecture=row.name) for row in propose(teacher.architecture, limits))]
    found: list[StudentSpec] = []
    for choice in students:
        match choice:
            case Family():
                found += [StudentSpec(architecture=name) for name in matching(choice.family)]
            case StudentSpec():
                found.append(choice)
    return list({student.model_dump_json(): student for student in found}.values())


def propose(teacher: str | None, limits: LimitsSpec) -> list[Architecture]:
    """Up to 24 architectures that may meet the limits, evenly spread over sizes, the smallest first.

    A teacher for small images gets students for small images. Without a known teacher, half of the proposals are for
    small images.
    """
    small = teacher is None or teacher.startswith(("cifar/", "mini/"))
    large = teacher is None or not small
    count = _PROPOSED // (small + large)
    proposed: list[Architecture] = []
    if small:
        proposed += _spread([row for row in catalogue.all() if row.name.startswith("cifar/")], teacher, limits, count)
    if large:
        rows = [row for row in catalogue.all() if any(fnmatchcase(row.name, each) for each in _PROPOSED_FAMILIES)]
        proposed += _spread(rows, teacher, limits, count)
    return proposed


def _spread(rows: Sequence[Architecture], teacher: str | None, limits: LimitsSpec, count: int) -> list[Architecture]:
    # The teacher may be an architecture of a package: its size is known on the workers only.
    known = teacher is not None and catalogue.has(teacher.partition(".")[0])
    largest = catalogue.find(teacher).parameters if teacher is not None and known else math.inf
    fitting = sorted(
        (row for row in rows if _may_meet(row, limits) and row.parameters <= largest),
        key=lambda row: (row.parameters, row.name),
    )
    if len(fitting) <= count:
        return fitting
    low, high = math.log(fitting[0].parameters), math.log(fitting[-1].parameters)
    chosen: dict[str, Architecture] = {}
    for index in range(count):
        wanted = low + (high - low) * index / (count - 1)
        rest = [row for row in fitting if row.name not in chosen]
        nearest = min(rest, key=lambda row: (abs(math.log(row.parameters) - wanted), row.name))
        chosen[nearest.name] = nearest
    return sorted(chosen.values(), key=lambda row: (row.parameters, row.name))


def _may_meet(row: Architecture, limits: LimitsSpec) -> bool:
    most = [math.inf if limits.parameters is None else limits.parameters * _MARGIN]
    if limits.bytes is not None:
        most.append(limits.bytes / (4 if limits.precision == "fp32" else 1) * _MARGIN)
    macs = math.inf if limits.macs is None else limits.macs * _MARGIN
    # The catalogue counts the multiply-accumulates at the architecture's own image size.
    return row.parameters <= min(most) and (row.macs is None or row.macs <= macs or row.input_size[1] > 64)
