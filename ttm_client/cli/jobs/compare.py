"""`ttm compare`."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Annotated, Any

import typer

from ttm_client.cli.output import JsonOption, UrlOption, console, count, print_json, print_rows, service, size
from ttm_client.cli.plots import Point, scatter
from ttm_client.cli.text import neutralized
from ttm_client.models.comparisons import ComparedGroup, ComparedJob, Comparison

_MOST = 20
_MARKS = "abcdefghijklmnopqrst"


def compare(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB", help="Two to twenty jobs.")],
    baseline: Annotated[
        str | None, typer.Option(help="The job that the others are compared with.", show_default="the most accurate")
    ] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Compare jobs: accuracy with intervals, costs, the front, and the fields in which their specs differ.

    Jobs that differ only in their seed share a line. Example: ttm compare pets-small pets-large
    """
    if not 2 <= len(job_ids) <= _MOST:
        raise typer.BadParameter(f"Compare two to {_MOST} jobs, not {len(job_ids)}.")
    with service(url) as client:
        found = client.jobs.compare(*job_ids, baseline=baseline)
    if json:
        print_json(found)
        return
    print_groups(found)
    if console.is_terminal:
        _print_front(found)
        console.print(f"\n{neutralized(found.verdict)}\n", markup=False, highlight=False)
    names = [job.name or job.id for job in found.jobs]
    print_rows(
        ("FIELD", *names),
        [(each.field, *(value or "-" for value in each.values)) for each in found.differences],
        whole=("FIELD",),
        wrapped=names,
    )


def _members(found: Comparison, group: ComparedGroup) -> list[ComparedJob]:
    return [job for job in found.jobs if job.id in group.jobs]


def print_groups(found: Comparison) -> None:
    """Prints a line for each group: means over its jobs, the least sizes and the median latency."""
    columns = (
        "",
        "JOB",
        "STATE",
        "STUDENT",
        "TOP-1",
        "VS BASELINE",
        "VS TEACHER",
        "PARAMETERS",
        "MACS",
        "FILE",
        "LATENCY",
    )
    rows = []
    for index, group in enumerate(found.groups):
        jobs = _members(found, group)
        first = jobs[0]
        changes, latencies = (_known(jobs, name) for name in ("change_points", "latency_ms"))
        costs = (_known(jobs, name) for name in ("parameters", "macs", "bytes"))
        parameters, macs, file_bytes = (min(known, default=None) for known in costs)
        rows.append(
            (
                _MARKS[index],
                group.label,
                " ".join(dict.fromkeys(job.state for job in jobs)),
                first.student,
                _top1(group, first),
                "baseline" if index == found.baseline else _difference(group),
                f"{fmean(changes):+.2f}" if changes else "-",
                count(parameters),
                count(macs),
                "-" if file_bytes is None else size(file_bytes),
                f"{median(latencies):.2f} ms" if latencies else "-",
            )
        )
    print_rows(columns, rows, ("MACS", "STATE", "PARAMETERS", "VS TEACHER", "FILE", "STUDENT"))


def _known(jobs: Sequence[ComparedJob], name: str) -> list[Any]:
    """A field of the jobs that have it."""
    return [value for job in jobs if (value := getattr(job, name)) is not None]


def _top1(group: ComparedGroup, job: ComparedJob) -> str:
    """The mean with its deviation over seeds, or one job's accuracy with its interval."""
    if group.mean is None:
        return "-"
    if group.deviation is not None:
        return f"{group.mean:.2%} ± {100 * group.deviation:.2f} (n={group.count})"
    return f"{group.mean:.2%}" + (f" [{job.interval[0]:.1%}, {job.interval[1]:.1%}]" if job.interval else "")


def _difference(group: ComparedGroup) -> str:
    if group.difference is None:
        return "-"
    return f"{100 * group.difference.mean:+.2f}" if group.difference.shown else "no difference shown"


def _print_front(found: Comparison) -> None:
    """Accuracy against the first cost that all groups with an accuracy have."""
    ranked = [(_MARKS[index], group) for index, group in enumerate(found.groups) if group.mean is not None]
    if len(ranked) < 2 or found.problem:
        return
    for name, label, form in (("bytes", "bytes of the ONNX file", "{:,.0f}"), ("parameters", "parameters", "{:,.0f}")):
        costs = [getattr(_members(found, group)[0], name) for _, group in ranked]
        if None not in costs:
            points = _points(ranked, costs)
            plot = scatter(
                points,
                x_label=f"{label}; capital letters: the Pareto front",
                y_label="top-1",
                x_format=form,
                y_format="{:.1%}",
            )
            console.print(f"\n{plot}", markup=False, highlight=False)
            return


def _points(ranked: Sequence[tuple[str, ComparedGroup]], costs: Sequence[float]) -> list[Point]:
    values = [(cost, group.mean or 0.0) for (_, group), cost in zip(ranked, costs, strict=True)]

    def beaten(cost: float, accuracy: float) -> bool:
        return any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in values)

    return [
        Point(cost, accuracy, mark if beaten(cost, accuracy) else mark.upper())
        for (mark, _), (cost, accuracy) in zip(ranked, values, strict=True)
    ]
