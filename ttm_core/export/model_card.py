"""Renders `MODEL_CARD.md`, a Hugging Face model card."""

import html
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ttm_core.report.page import compression, count, milliseconds, percent, points, size
from ttm_core.report.schema import Report
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.speed.measurement import single_image_ms

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-!|~])")


def model_card(report: Report, spec: DistillSpec) -> str:
    """The card as Markdown with YAML front matter. It contains no URIs of the run, since cards are published."""
    split, scores = report.headline
    front = yaml.safe_dump(_front_matter(report, split), sort_keys=False, allow_unicode=True)
    exports = {exported.format: exported for exported in report.exports if exported.size is not None}
    body = _environment.get_template("model_card.md").render(
        report=report,
        spec=spec,
        split=split,
        scores=scores,
        timm_folder=exports.get("timm"),
        onnx=exports.get("onnx"),
        fp16=exports.get("onnx_fp16"),
        int8=exports.get("onnx_int8"),
        program=exports.get("pt2"),
        student_ms=single_image_ms(report.measurements),
        teacher_ms=single_image_ms(report.teacher_measurements),
    )
    return f"---\n{front}---\n\n{body}"


def _front_matter(report: Report, split: str) -> dict[str, Any]:
    _, scores = report.headline
    name = report.name or report.student.architecture
    # Against the teacher's predictions, top-1 is agreement and not accuracy.
    kind = "accuracy" if scores.against == "labels" else "agreement with the teacher"
    metrics = [{"type": kind, "name": "top-1", "value": scores.student.top1}]
    if scores.student.top5 is not None:
        metrics.append({"type": kind, "name": "top-5", "value": scores.student.top5})
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "custom", "name": "the data that the student was trained on", "split": split},
        "metrics": metrics,
    }
    has_timm = any(exported.format == "timm" and exported.size for exported in report.exports)
    return {
        "pipeline_tag": "image-classification",
        "library_name": "timm" if has_timm else "ttm",
        "tags": ["image-classification", "knowledge-distillation", report.run.method],
        "model-index": [{"name": name, "results": [result]}],
    }


def _plain(text: str) -> str:
    """Untrusted text as one line of Markdown without any markup."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=False,  # Markdown: the template escapes names with the `plain` filter
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_environment.filters |= {
    "percent": percent,
    "count": count,
    "size": size,
    "milliseconds": milliseconds,
    "points": points,
    "compression": compression,
    "plain": _plain,
}
