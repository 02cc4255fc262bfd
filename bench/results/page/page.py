"""The whole page."""

import json
from pathlib import Path

from bench.results.page.exhaustive import exhaustive_section
from bench.results.page.int8 import int8_section
from bench.results.page.published import not_reproduced
from bench.results.page.sections import SECTIONS, section
from bench.results.page.study import study_section
from bench.results.page.ten_students import ten_students_section
from bench.results.page.value import value_section

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"

_HEAD = """\
# Results

This page is for users who want to know what accuracy to expect, and for contributors who reproduce the paper. The runs
are jobs of the service on real photographs; `make results` [repeats them](how-to/run-a-table.md) and writes this page.

Accuracies are top-1 in %. ± and brackets are 95 % intervals: t over the seeds, and paired by seed for differences.
Where an interval includes zero, no difference is shown. Runs are short (minutes on one CPU thread), so the figures say
how options compare in short runs on little data, and not what long training on a full dataset reaches.

"""


def page(results: Path = RESULTS) -> str:
    """The page as Markdown, from the JSON files in a folder."""
    parts = [_HEAD]
    for name in SECTIONS:
        path = results / f"{name}.json"
        if path.exists():
            parts.append(section(name, json.loads(path.read_text(encoding="utf-8"))))
    parts += [
        value_section(results),
        int8_section(results / "int8.json"),
        study_section(results / "study.json"),
        ten_students_section(results / "ten_students.json"),
        exhaustive_section(results / "exhaustive.json"),
    ]
    parts.append(not_reproduced())
    return "".join(parts)


def write(results: Path = RESULTS) -> None:
    """Writes the page next to the folder."""
    results.with_suffix(".md").write_text(page(results), encoding="utf-8")
