"""The section that compares the cost of a study with that of a job for each of its students."""

import json
from pathlib import Path

from bench.results.page.sentences import origin
from bench.results.page.text import wrapped

_STUDENTS = 10
_TEXT = """\
A study of ten students of the ResNet-56 (four from random weights, four with the teacher's weights, two cut out of
it), {epochs} epochs of wttm, one seed and no run with labels alone, took {study:,.0f} CPU-seconds for everything from
the screen to the recommendation. Ten separate jobs that each compute the teacher's logits took {jobs:,.0f}. The study
took {share:.2f} times as much, with {trained} epochs trained and {forwards:,} forward passes of the teacher, instead of
{all_epochs} epochs and {all_forwards:,} forward passes."""


def ten_students_section(path: Path) -> str:
    """Heading, text and origin; empty without a complete record."""
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    runs, costs = record["runs"], record["costs"]
    if len(runs) < _STUDENTS:
        return ""
    jobs = sum(run["cpu_seconds"] for run in runs)
    text = _TEXT.format(
        epochs=record["epochs"],
        study=record["study_cpu_seconds"],
        jobs=jobs,
        share=record["study_cpu_seconds"] / jobs,
        trained=costs["epochs_trained"],
        forwards=costs["teacher_forwards"],
        all_epochs=len(runs) * record["epochs"],
        all_forwards=sum(run["teacher_forwards"] for run in runs),
    )
    return "\n".join(["## Ten students of one teacher\n", wrapped(text), origin(record)]) + "\n"
