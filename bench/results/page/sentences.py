"""Sentences that follow from intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.choice import chosen, final_runs
from bench.results.page.intervals import difference
from bench.results.page.tables import points


def comparisons(record: Mapping[str, Any]) -> str:
    """What the differences to the reference show: which variants are better, worse, and not shown to differ."""
    reference = record["reference"]
    base = final_runs(reference, record["runs"])
    better: list[str] = []
    worse: list[str] = []
    equal: list[str] = []
    single: list[str] = []
    for variant in record["variants"]:
        found = difference(final_runs(variant, record["runs"]), base)
        if variant == reference or found is None:
            continue
        if found.low is None:
            single.append(_named(variant))
        elif not found.excludes_zero:
            equal.append(_named(variant))
        else:
            (better if found.mean > 0 else worse).append(f"{_named(variant)} ({points(found)} points)")
    base_name = _named(reference)
    parts = [
        f"More accurate than {base_name}: {_listed(better)}." if better else "",
        f"Less accurate than {base_name}: {_listed(worse)}." if worse else "",
        f"No difference from {base_name} is shown for {_listed(equal)}." if equal else "",
        f"One run each, which shows no difference: {_listed(single)}." if single else "",
    ]
    return " ".join(filter(None, parts)) or f"Nothing was compared with {base_name}."


def edges(record: Mapping[str, Any]) -> str:
    """Which tuned variants are best at an end of what was tried; empty without any."""
    found = []
    for variant in record["variants"]:
        runs = [run for run in record["runs"] if run["variant"] == variant and run["seed"] == 0 and run["values"]]
        if len(runs) > 1 and chosen(variant, runs) in (runs[0]["values"], runs[-1]["values"]):
            found.append(_named(variant))
    return f"The best value is at an end of what was tried for {_listed(found)}." if found else ""


def origin(record: Mapping[str, Any]) -> str:
    """The CPU, the dates, the version of PyTorch and the command of an experiment."""
    dates = " to ".join(dict.fromkeys((record["started"], record["updated"])))
    machine = f"One thread of a shared {record['cpu']} (two cores), PyTorch {record['torch']}, {dates}."
    return f"{machine}\n\n    {record['command']}\n"


def _named(variant: str) -> str:
    """The name of a variant in a sentence: in italics if it has commas, which also separate the names of a list."""
    return f"*{variant}*" if "," in variant else variant


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
