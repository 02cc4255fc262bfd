"""The form of a study that is submitted again."""

from collections.abc import Mapping
from typing import Any

from api.dashboard.jobs.detail import without_none
from api.dashboard.jobs.form import Start, take
from api.studies.schemas import StudyOut
from ttm_core.spec.job import StudentSpec
from ttm_core.spec.study.limits import LimitsSpec

# The units of the limits' inputs in those of the spec: percent, MB and milliseconds.
_UNITS = {"/limits/retention": 0.01, "/limits/bytes": 1_000_000, "/limits/latency_ms": 1}
_FIELDS = (
    "/name",
    "/teacher/checkpoint",
    "/dataset/uri",
    "/limits/retention",
    "/limits/bytes",
    "/limits/latency_ms",
    "/limits/device",
    "/goal",
    "/training/epochs",
    "/budget/candidates",
    "/seeds",
)


def start_from(study: StudyOut, scheduling_options: Mapping[str, Any]) -> Start:
    """Each value of a study in its field, all others as JSON."""
    rest = without_none(study.spec) | ({"tags": study.tags} if study.tags else {}) | dict(scheduling_options)
    # The form has a button for each of its values.
    rest.pop("screen_only", None)
    students = _students_text(rest["students"])
    values: dict[str, Any] = {}
    if students is not None:
        del rest["students"]
        values["/students"] = students
    for pointer in _FIELDS:
        value = take(rest, pointer)
        if value is not None:
            values[pointer] = f"{value / _UNITS[pointer]:.12g}" if pointer in _UNITS else value
    if values.get("/limits/device") == LimitsSpec.model_fields["device"].default:
        del values["/limits/device"]
    return Start.of(values, rest)


def _students_text(students: Any) -> str | None:
    """The students as the field has them: names and families separated by spaces, empty for auto. None if one has
    other fields.
    """
    if students == "auto":
        return ""
    names = [_name(each) for each in students]
    return None if None in names else " ".join(map(str, names))


def _name(student: dict[str, Any]) -> str | None:
    match student:
        case {"family": str(family)} if "*" in family:
            return family
        case {"architecture": str(name)} if student == without_none(
            StudentSpec(architecture=name).model_dump(mode="json")
        ):
            return name
        case _:
            return None
