"""Renders `report.html`, one self-contained page without scripts."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ttm_core.report.schema import ClassScores, Model, Report, SplitScores
from ttm_core.spec.speed.measurement import PartTime, single_image_ms

_TEMPLATES = Path(__file__).parent / "templates"
_LISTED_CLASSES = 1000
_BAR_PIXELS = 240


def page(report: Report) -> str:
    """The report as HTML. Untrusted names are escaped, and a content security policy forbids scripts and requests."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    def ratio(cost: Callable[[Model], float | None], *, less: str = "smaller", more: str = "larger") -> str:
        if report.teacher is None:
            return ""
        return _comparison(cost(report.teacher), cost(report.student), less, more)

    student_ms, teacher_ms = (
        single_image_ms(measured) for measured in (report.measurements, report.teacher_measurements)
    )
    return _environment.get_template("report.html").render(
        report=report,
        style=style,
        style_hash=f"sha256-{digest}",
        listed=_LISTED_CLASSES,
        difference=_difference,
        tone=_tone,
        ratios={
            "parameters": ratio(lambda model: model.parameters),
            "macs": ratio(lambda model: model.macs, less="fewer", more="more"),
            "file": ratio(lambda model: model.file_bytes),
            "latency": _comparison(teacher_ms, student_ms, "faster", "slower"),
        },
        student_ms=student_ms,
        teacher_ms=teacher_ms,
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


def milliseconds(ms: float | None) -> str:
    """Milliseconds with three significant digits."""
    return "-" if ms is None else f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def points(change: float | None) -> str:
    """A change in percentage points, with its sign."""
    return "-" if change is None else f"{change:+.2f} points"


def compression(ratio: float | None) -> str:
    """A compression ratio above 1 as "3.1× smaller", any other as "larger" or "same"."""
    return _comparison(ratio, 1.0, "smaller", "larger") if ratio is not None else "-"


def _difference(student: float | None, teacher: float | None) -> str:
    return points(None if student is None or teacher is None else 100 * (student - teacher))


def _tone(field: str, split: SplitScores) -> str:
    """The CSS class of a difference: a lower calibration error is better, a higher accuracy is better."""
    if split.teacher is None:
        return ""
    gain = getattr(split.student, field) - getattr(split.teacher, field)
    gain = -gain if field == "calibration_error" else gain
    return "good" if gain > 0 else "bad" if gain < 0 else ""


def _comparison(teacher: float | None, student: float | None, less: str, more: str) -> str:
    if not teacher or not student:
        return "-"
    if teacher > student:
        return f"{teacher / student:.3g}× {less}"
    return more if student > teacher else "same"


def _lost_most(split: SplitScores) -> list[ClassScores]:
    by_name = {row.name: row for row in split.classes}
    return [by_name[name] for name in split.lost_most]


def _bars(times: Sequence[PartTime]) -> list[dict[str, object]]:
    """Rows of a bar chart: name, milliseconds, share of the total, and width of the bar in pixels."""
    total = sum(each.ms for each in times) or 1.0
    largest = max((each.ms for each in times), default=0.0) or 1.0
    return [
        {
            "name": each.name,
            "ms": each.ms,
            "share": each.ms / total,
            "width": round(_BAR_PIXELS * each.ms / largest, 1),
        }
        for each in times
    ]


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "percent": percent,
    "count": count,  # replaces Jinja's filter of this name
    "size": size,
    "milliseconds": milliseconds,
    "lost_most": _lost_most,
    "bars": _bars,
}
