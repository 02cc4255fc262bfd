"""Labels of compared configurations, in words."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ttm_core.spec.student.details import details
from ttm_core.spec.student.student import StudentSpec

_MOST_FIELDS = 2
_ID_END = 6


class Described(Protocol):
    """What identifies a job's configuration."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def student(self) -> str: ...
    @property
    def spec(self) -> dict[str, Any]: ...


def label(jobs: Sequence[Described], spec: Mapping[str, str], distinguishing: Sequence[str]) -> str:
    """The name of one job, or the common name of several; else the student and the fields that distinguish it.

    Args:
        jobs: Jobs that differ only in their seed.
        spec: The values of their fields by path.
        distinguishing: Paths of the fields that differ from those of other configurations.
    """
    first, names = jobs[0], {job.name for job in jobs}
    if len(names) == 1 and first.name:
        return first.name
    if len(jobs) == 1:
        return first.id[:13]
    # A null is a default, such as no recipe, except for the teacher.
    given = [name for name in distinguishing if name in spec and (spec[name] != "null" or name == "teacher")]
    fields = given[:_MOST_FIELDS]
    student = details(StudentSpec.model_validate(first.spec["student"]))
    return ", ".join([first.student, *student, *(field_words(name, spec[name]) for name in fields)])


def field_words(path: str, value: str) -> str:
    """A field of a spec in words: `beta 2` for `method.beta`, `teacher job …a1b2c3` for `teacher.checkpoint`."""
    owner, _, field = path.rpartition(".")
    name = (owner.rpartition(".")[2] if owner and field in ("checkpoint", "uri", "kind") else field).replace("_", " ")
    if value == "null":
        return f"no {name}"
    kind, colon, rest = value.partition(":")
    if colon and kind in ("job", "upload"):
        return f"{name} {kind} \N{HORIZONTAL ELLIPSIS}{rest[-_ID_END:]}"
    return f"{name} {value.rpartition('/')[2] if '://' in value else value}"
