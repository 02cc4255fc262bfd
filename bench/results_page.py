"""Writes docs/results.md: measured accuracies from docs/results/*.json, and the figures of the paper.

python -m bench.results_page
"""

import json
from pathlib import Path
from typing import Any

from bench.compare_methods import table
from ttm_core.spec import recipes

DOCS = Path(__file__).resolve().parents[1] / "docs"

_HEAD = """\
# Results

This page is for users who want to know what accuracy to expect, and for contributors who reproduce the paper.

"""

_INTRO = """\
## Comparison of methods on CIFAR-100

Two pairs of the paper on 10,000 photographs of CIFAR-100 (100 per class, 4,000 more for testing), with recipes
shortened to a few epochs, on one thread of two shared CPU cores. The teachers were trained on the same photographs
for a few epochs, so all figures are far below the paper's. They show that the methods run and how they compare early
in training, not what they reach. 200 photographs select the best epoch. ± is the standard deviation over the seeds;
with so few seeds, differences below about twice the deviation are not significant.

"""

_SERVICE = """\
## An ImageNet teacher through the service

A job with an EfficientNet-Lite0 trained on ImageNet as the teacher (ten of its 1,000 classes, selected by
`class_map`) and a {student} student from scratch, on 1,000 photographs of those classes. Report of the job:
[page](results/imagenette/report.html), [JSON](results/imagenette/report.json), [spec](results/imagenette/spec.json).

{table}
Most of these photographs are from ImageNet's training set, so the teacher's accuracy is optimistic.

"""

_PAPER = """\
## Recipes and the paper's figures

Top-1 accuracies in %: the paper's, and ours for the full recipe on the full dataset, which takes GPU-days and was not
run. [Run a table of the paper](how-to/run-a-table.md) explains how to.

"""


def _part(name: str) -> str:
    """A section with measurements that were made by hand."""
    return (DOCS / "results" / f"{name}.md").read_text(encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    measured = sorted((DOCS / "results").glob("*.json"))
    if measured:
        parts.append(_INTRO)
    for path in measured:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        teacher = next(run["teacher"] for run in results["runs"] if run["teacher"] is not None)
        length = f"{results['epochs']} epochs of {results['train_images']:,} images"
        parts.append(f"**{results['pair']}**, {length}; teacher {100 * teacher:.2f}.\n\n")
        parts.append(f"{table(results['runs'])}\n\n    {results['command']}\n\n")
    parts.append(_part("students"))
    served = DOCS / "results" / "imagenette" / "report.json"
    if served.exists():
        parts.append(_served(json.loads(served.read_text(encoding="utf-8"))))
    parts += [_part("int8"), _PAPER]
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
