"""The section that puts accuracy next to cost for every option, over the experiments on the same photographs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results.choice import final_runs
from bench.results.page.intervals import Interval, mean_of
from bench.results.page.tables import cpu_seconds, level, sizes
from bench.results.page.text import wrapped

_EXPERIMENTS = ("capabilities", "students", "unlabelled")
_BEFORE = """\
Every row of the experiments above that trains with wttm, by the CPU time of a whole run. Rows in bold are more accurate
than every cheaper row. Runs of *students* and *unlabelled images* read logits that an earlier run has stored, except
for the first one of each number of views."""

_AFTER = """\
The defaults follow from these rows: more epochs the fewer images there are, because the number of steps is worth most;
bfloat16 where the CPU has units for it, because float32 takes longer and no difference is shown; batches of 32 in short
runs, which cost no more; no moving average. A new view in each epoch stays the default, as in the paper. Where the
teacher is expensive, `training.views` makes the first job cheaper: no difference is shown with 2 views in 10 epochs,
nor with 10 in 72."""


@dataclass(frozen=True)
class _Row:
    name: str
    top1: Interval
    cpu_minutes: float
    sizes: tuple[str, str]


def value_section(results: Path) -> str:
    """Heading, text and table; empty without any of the records."""
    rows = sorted(_rows(results), key=lambda row: row.cpu_minutes)
    if not rows:
        return ""
    lines = ["| | top-1 | n | CPU-minutes | parameters | MACs |", "|---|---|---|---|---|---|"]
    best = 0.0
    for row in rows:
        name = row.name
        if row.top1.mean > best:
            best, name = row.top1.mean, f"**{name}**"
        cells = [name, level(row.top1), str(row.top1.count), f"{row.cpu_minutes:.1f}", *row.sizes]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(["## Accuracy for CPU time\n", wrapped(_BEFORE), "\n".join(lines), "", wrapped(_AFTER)]) + "\n"


def _rows(results: Path) -> Iterator[_Row]:
    for name in _EXPERIMENTS:
        path = results / f"{name}.json"
        if path.exists():
            record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for variant in record["variants"]:
                if runs := final_runs(variant, record["runs"]):
                    top1 = mean_of([100 * run["test"] for run in runs])
                    cost = cpu_seconds(runs)
                    if cost is not None:
                        yield _Row(f"{name}: {variant}", top1, cost / 60, sizes(runs[0]))
