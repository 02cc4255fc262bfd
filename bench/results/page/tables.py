"""Markdown tables of the runs of an experiment."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.results.choice import final_runs
from bench.results.page.intervals import Interval, difference, mean_of, ratio

Record = Mapping[str, Any]


def accuracies(record: Record) -> str:
    """A row per variant: top-1 in %, paired difference to the reference, n, every seed, and CPU-seconds."""
    reference = record["reference"]
    tuned = any(run["values"] for run in record["runs"])
    sized = len({run.get("parameters") for run in record["runs"]}) > 1 and all("macs" in run for run in record["runs"])
    head = ["", *(["chosen"] if tuned else []), "top-1", f"difference to {reference}", "n", "each seed", "CPU-seconds"]
    head += ["parameters", "MACs"] if sized else []
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    base = final_runs(reference, record["runs"])
    for variant in record["variants"]:
        runs = final_runs(variant, record["runs"])
        if not runs:
            continue
        values = ", ".join(f"{path.rpartition('.')[2]} {value:g}" for path, value in runs[0]["values"].items())
        seconds = cpu_seconds(runs)
        cells = [
            variant,
            *([values or "-"] if tuned else []),
            level(mean_of([100 * run["test"] for run in runs])),
            "-" if variant == reference else points(difference(runs, base)),
            str(len(runs)),
            ", ".join(f"{100 * run['test']:.2f}" for run in runs),
            "-" if seconds is None else f"{seconds:.0f}",
            *(sizes(runs[0]) if sized else ()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sizes(run: Mapping[str, Any]) -> tuple[str, str]:
    """Parameters in thousands and multiply-accumulates in millions: `78 k` and `12.5 M`."""
    return f"{run['parameters'] / 1e3:,.0f} k", f"{run['macs'] / 1e6:.1f} M"


def tuning(record: Record) -> str:
    """A row per tuned variant: validation and test accuracy of the first seed for each value; empty without any."""
    lines = []
    for variant in record["variants"]:
        tried = [run for run in record["runs"] if run["variant"] == variant and run["seed"] == 0 and run["values"]]
        cells = [
            f"{', '.join(f'{value:g}' for value in run['values'].values())}: "
            f"{100 * run['validation']:.1f} / {100 * run['test']:.2f}"
            for run in tried
        ]
        if cells:
            fields = ", ".join(path.rpartition(".")[2] for path in tried[0]["values"])
            lines.append(f"| {variant} | {fields} | {' | '.join(cells)} |")
    if not lines:
        return ""
    columns = lines[0].count("|") - 3
    head = "| | field |" + " value: validation / test |" * columns
    return "\n".join([head, "|---" * (columns + 2) + "|", *lines]) + "\n"


def costs(record: Record) -> str:
    """A row per variant: CPU-seconds as a share of the reference's, over equal seeds."""
    reference = record["reference"]
    base = final_runs(reference, record["runs"])
    lines = [f"| | CPU-seconds, share of {reference} | n |", "|---|---|---|"]
    for variant in record["variants"]:
        found = ratio(final_runs(variant, record["runs"]), base)
        if found is not None and variant != reference:
            lines.append(f"| {variant} | {_bracketed(f'{found.mean:.2f}', found, '.2f')} | {found.count} |")
    return "\n".join(lines) + "\n"


def level(found: Interval) -> str:
    """`52.30 ± 0.41`, or the value of a single run."""
    return f"{found.mean:.2f}" + ("" if found.high is None else f" ± {found.high - found.mean:.2f}")


def points(found: Interval | None) -> str:
    """`+1.20 [0.31, 2.09]`."""
    return "-" if found is None else _bracketed(f"{found.mean:+.2f}", found, "+.2f")


def cpu_seconds(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """The median over the runs whose CPU-seconds are known."""
    known = [run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None]
    return median(known) if known else None


def _bracketed(mean: str, found: Interval, form: str) -> str:
    return mean if found.low is None else f"{mean} [{found.low:{form}}, {found.high:{form}}]"
