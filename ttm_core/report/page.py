"""`report.html`: the report as one page without scripts or other files."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ttm_core.report.schema import ClassScores, Model, Report, SplitScores

_TEMPLATES = Path(__file__).parent / "templates"
_LISTED_CLASSES = 1000


def page(report: Report) -> str:
    """HTML in UTF-8. Names come from strangers: all are escaped, and a policy in the page lets nothing run or load."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    def ratio(cost: Callable[[Model], float | None]) -> str:
        return "" if report.teacher is None else _times(cost(report.teacher), cost(report.student))

    return _environment.get_template("report.html").render(
        report=report,
        style=style,
        style_hash=f"sha256-{digest}",
        listed=_LISTED_CLASSES,
        points=_points,
        tone=_tone,
        ratios={
            "parameters": ratio(lambda model: model.parameters),
            "macs": ratio(lambda model: model.macs),
            "file": ratio(lambda model: model.file_bytes),
            "batch_1": ratio(lambda model: model.latency.batch_1),
            "batch_32": ratio(lambda model: model.latency.batch_32),
        },
    )


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def size(number: int) -> str:
    """Bytes in decimal units."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number} B"


def milliseconds(seconds: float) -> str:
    """Three digits, and all before the point."""
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def _points(student: float | None, teacher: float | None) -> str:
    return "-" if student is None or teacher is None else f"{100 * (student - teacher):+.2f}"


def _tone(field: str, split: SplitScores) -> str:
    """The class of a difference: calibration error is better small, accuracies large."""
    if split.teacher is None:
        return ""
    gain = getattr(split.student, field) - getattr(split.teacher, field)
    gain = -gain if field == "calibration_error" else gain
    return "good" if gain > 0 else "bad" if gain < 0 else ""


def _times(teacher: float | None, student: float | None) -> str:
    return "-" if not teacher or not student else f"{teacher / student:.3g} ×"  # noqa: RUF001


def _lost_most(split: SplitScores) -> list[ClassScores]:
    by_name = {known.name: known for known in split.classes}
    return [by_name[name] for name in split.lost_most]


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "percent": percent,
    "count": count,  # instead of Jinja's own, which is another name for length
    "size": size,
    "milliseconds": milliseconds,
    "lost_most": _lost_most,
}
