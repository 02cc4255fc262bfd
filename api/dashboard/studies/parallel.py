"""Parallel coordinates of a study: hyper-parameters and results as axes, candidates as lines."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from api.dashboard.studies.detail import best_accuracy, least, student_name
from api.studies.schemas import CandidateOut, StudyOut

# Name, title and format of the results, in their order on the page.
_RESULTS = (
    ("bytes", "file size", "bytes"),
    ("latency_ms", "latency", "milliseconds"),
    ("top1", "top-1", "share"),
)


def axes(study: StudyOut, candidates: Sequence[CandidateOut], precision: str) -> str | None:
    """The axes as JSON: the student if there are several, each searched field, and the results that differ. None
    without a search space.
    """
    space: Mapping[str, Any] = study.spec.get("search") or {}
    if not space:
        return None
    values = [_values(candidate, precision) for candidate in candidates]
    found: list[dict[str, Any]] = [{"name": "student", "title": "student", "format": "text"}]
    for path, dimension in space.items():
        title = path.rpartition(".")[2].replace("_", " ")
        linear = isinstance(dimension, Mapping) and dimension.get("linear") is not None
        found.append({"name": path, "title": title, "format": "number", "log": not linear})
    found += [{"name": name, "title": title, "format": form, "log": form != "share"} for name, title, form in _RESULTS]
    return json.dumps([axis for axis in found if axis["name"] in space or _differs(axis["name"], values)])


def line(candidate: CandidateOut, precision: str) -> str:
    """The values of a candidate by axis, as JSON."""
    return json.dumps(_values(candidate, precision))


def _values(candidate: CandidateOut, precision: str) -> dict[str, Any]:
    return {
        "student": student_name(candidate),
        **candidate.values,
        "bytes": least(candidate, "bytes", precision),
        "latency_ms": least(candidate, "latency_ms", precision),
        "top1": best_accuracy(candidate),
    }


def _differs(name: str, values: Sequence[Mapping[str, Any]]) -> bool:
    return len({each[name] for each in values if each[name] is not None}) > 1
