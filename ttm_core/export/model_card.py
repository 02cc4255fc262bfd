"""`MODEL_CARD.md`: a Hugging Face model card of the student."""

import html
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ttm_core.report.page import count, milliseconds, percent, size
from ttm_core.report.schema import Report
from ttm_core.spec.job import DistillSpec

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-!|~])")


def model_card(report: Report, spec: DistillSpec) -> str:
    """Markdown below YAML front matter. No address of the run's data enters it: a card is made to be shown."""
    split, scores = report.judged
    front = yaml.safe_dump(_front_matter(report, split), sort_keys=False, allow_unicode=True)
    made = {form.format: form for form in report.exports if form.size is not None}
    body = _environment.get_template("model_card.md").render(
        report=report,
        spec=spec,
        split=split,
        scores=scores,
        timm_folder=made.get("timm"),
        onnx=made.get("onnx"),
        int8=made.get("onnx_int8"),
    )
    return f"---\n{front}---\n\n{body}"


def _front_matter(report: Report, split: str) -> dict[str, Any]:
    _, scores = report.judged
    name = report.name or report.student.architecture
    # Where the teacher stands for the labels, the same share is no accuracy.
    kind = "accuracy" if scores.against == "labels" else "agreement with the teacher"
    metrics = [{"type": kind, "name": "top-1", "value": scores.student.top1}]
    if scores.student.top5 is not None:
        metrics.append({"type": kind, "name": "top-5", "value": scores.student.top5})
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "custom", "name": "the data that the student was trained on", "split": split},
        "metrics": metrics,
    }
    return {
        "pipeline_tag": "image-classification",
        "library_name": "timm" if any(form.format == "timm" and form.size for form in report.exports) else "ttm",
        "tags": ["image-classification", "knowledge-distillation", report.run.method],
        "model-index": [{"name": name, "results": [result]}],
    }


def _plain(text: str) -> str:
    """A stranger's text as one line of Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=False,  # Markdown: names pass through `plain`
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
    "plain": _plain,
}
