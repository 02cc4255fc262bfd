"""Writes docs/results.md: what was measured, from docs/results/*.json, beside what the paper says.

python -m bench.results_page
"""

import json
from pathlib import Path
from typing import Any

from bench.compare_methods import table
from ttm_core.spec import recipes

DOCS = Path(__file__).resolve().parents[1] / "docs"

_INTRO = """\
## Methods side by side

Pairs of the paper on 10,000 photographs of CIFAR-100 (100 of each class, 4,000 more to test on), the recipe cut down to
a few epochs, one thread of two shared CPU cores. The teachers were trained on the same photographs for a few epochs, so
all figures lie far below the paper's: they show that the methods run and how they compare early in training, not what
they reach. Two hundred of the photographs choose the best epoch. ± is the deviation over the seeds; with so few,
differences smaller than about twice the deviation mean nothing.

"""

_SERVICE = """\
## A real ImageNet teacher through the service

`POST /jobs` with an EfficientNet-Lite0 trained on ImageNet, ten of its 1,000 classes chosen by `class_map`, as the
teacher of a {student} from scratch, on 1,000 photographs of those classes. The whole report of the job:
[page](results/imagenette/report.html), [JSON](results/imagenette/report.json),
[spec](results/imagenette/spec.json).

{table}
Most of these photographs are of ImageNet's training set, which the teacher has seen: its figure is flattering.

"""

_PAPER = """\
## Every row of the paper

Top-1 accuracies in per cent: the paper's, and ours for the whole recipe on the whole data set, which takes GPU-days
and was not run here. [How to run a table](how-to/run-a-table.md) says how.

"""


def page() -> str:
    """The page."""
    parts = ["# Results\n\n"]
    measured = sorted((DOCS / "results").glob("*.json"))
    if measured:
        parts.append(_INTRO)
    for path in measured:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        teacher = next(run["teacher"] for run in told["runs"] if run["teacher"] is not None)
        length = f"{told['epochs']} epochs of {told['train_images']:,} images"
        parts.append(f"**{told['pair']}**, {length}; teacher {100 * teacher:.2f}.\n\n")
        parts.append(f"{table(told['runs'])}\n\n    {told['command']}\n\n")
    served = DOCS / "results" / "imagenette" / "report.json"
    if served.exists():
        parts.append(_served(json.loads(served.read_text(encoding="utf-8"))))
    parts.append(_PAPER)
    parts.append("| recipe | teacher | student alone | the paper's | ours |\n|---|---|---|---|---|\n")
    for recipe in map(recipes.find, recipes.names()):
        figures = (recipe.published.get(name) for name in ("teacher", "student", "distilled"))
        cells = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
        parts.append(f"| `{recipe.name}` | {' | '.join(cells)} | not run |\n")
    return "".join(parts)


def _served(report: dict[str, Any]) -> str:
    lines = ["| | teacher | student |", "|---|---|---|"]
    test = report["test"] or report["validation"]
    for name, title in (("top1", "top-1"), ("top5", "top-5")):
        lines.append(f"| {title} | {test['teacher'][name]:.2%} | {test['student'][name]:.2%} |")
    for name, title in (("parameters", "parameters"), ("macs", "MACs"), ("file_bytes", "bytes")):
        lines.append(f"| {title} | {report['teacher'][name]:,} | {report['student'][name]:,} |")
    return _SERVICE.format(student=f"`{report['student']['architecture']}`", table="\n".join(lines) + "\n")


if __name__ == "__main__":
    (DOCS / "results.md").write_text(page(), encoding="utf-8")
