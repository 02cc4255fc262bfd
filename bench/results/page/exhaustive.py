"""The section that compares a study's choice with training every candidate to the end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.results.page.sentences import origin
from bench.results.page.text import wrapped
from ttm_jobs.studies.rules.halving import schedule

_BEFORE = """\
Nine candidates (three students at three learning rates) on scikit-learn's digits, {epochs} epochs of 15 steps, {rungs}:
the smallest student that keeps {retention:.0f} % of the teacher's validation accuracy. The engine
trained all candidates to the end, without the service; the study's decision function then chose from their accuracies
at the rungs. Trials are bit-identical to the start of full runs, so a study would choose the same."""


def exhaustive_section(path: Path) -> str:
    """Heading, text, table and origin; empty without the record."""
    if not path.exists():
        return ""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    ends = record["rungs"]
    rungs = f"rungs after epochs {' and '.join(map(str, ends))}" if len(ends) > 1 else f"one rung of {ends[0]} epochs"
    before = _BEFORE.format(epochs=record["epochs"], rungs=rungs, retention=100 * record["retention"])
    parts = ["## Studies compared with training every candidate\n", wrapped(before), _table(record)]
    return "\n".join([*parts, wrapped(_verdict(record)), origin(record)]) + "\n"


def _table(record: Mapping[str, Any]) -> str:
    lines = ["| repetition | study | full training | test: study - full |", "|---|---|---|---|"]
    for run in record["runs"]:
        names = [f"`{record['candidates'][run[name] - 1].replace(',', '`,')}" for name in ("study", "full")]
        found = run["difference"]
        interval = "same" if found is None else _interval(found)
        lines.append(f"| {run['seed'] + 1} | {' | '.join(names)} | {interval} |")
    return "\n".join(lines) + "\n"


def _verdict(record: Mapping[str, Any]) -> str:
    runs = record["runs"]
    same = sum(run["study"] == run["full"] for run in runs)
    students = [name.partition(",")[0] for name in record["candidates"]]
    student = sum(students[run["study"] - 1] == students[run["full"] - 1] for run in runs)
    sizes = {each["number"]: each["parameters"] for each in runs[0]["candidates"]}
    larger = sum(sizes[run["study"]] > sizes[run["full"]] for run in runs)
    worse = sum(run["difference"] is not None and run["difference"]["high"] < 0 for run in runs)
    equal = sum(run["difference"] is None or run["difference"]["low"] <= 0 <= run["difference"]["high"] for run in runs)
    finalists = schedule(len(record["candidates"]), record["epochs"], seeds=1).most[-1]
    first = len(record["candidates"]) * record["rungs"][0]
    trained = first + finalists * (record["epochs"] - record["rungs"][-1])
    return (
        f"In {same} of {len(runs)} repetitions both choose the same candidate, in {student} the same student; in "
        f"{equal} it is the same candidate or no difference on the 500 test images is shown (95 % paired bootstrap). "
        f"The study's student is larger in {larger}, and less accurate in {worse}. A rung of {15 * record['rungs'][0]} "
        f"steps is short, and one seed allows {finalists} finalists, so the study trains {trained} of "
        f"{len(record['candidates']) * record['epochs']} epochs: more candidates save more."
    )


def _interval(found: Mapping[str, Any]) -> str:
    mean, low, high = (100 * found[name] for name in ("mean", "low", "high"))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] points"
