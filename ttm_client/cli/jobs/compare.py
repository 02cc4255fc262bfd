"""`ttm compare`."""

from json import dumps
from typing import Annotated, Any

import typer

from ttm_client import Client, Job, NotFound
from ttm_client.cli.output import JsonOption, UrlOption, count, print_json, print_rows, service

_MOST = 10


def compare(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB JOB...", help="Two to ten jobs.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Compare jobs: accuracy, size, cost, latency, and the fields in which their specs differ."""
    if not 2 <= len(job_ids) <= _MOST:
        raise typer.BadParameter(f"Compare two to {_MOST} jobs, not {len(job_ids)}.")
    with service(url) as client:
        jobs = [client.jobs.get(job_id) for job_id in job_ids]
        costs = [_costs(client, job) for job in jobs]
    differing = differences([job.spec for job in jobs])
    if json:
        items = [{"job": job, "student": cost} for job, cost in zip(jobs, costs, strict=True)]
        print_json({"jobs": items, "differences": differing})
        return
    rows = [_row(job, cost) for job, cost in zip(jobs, costs, strict=True)]
    print_rows(("JOB", "STATE", "STUDENT", "TOP-1", "VS TEACHER", "PARAMETERS", "MACS", "LATENCY"), rows)
    print_rows(
        ("FIELD", *(job.name or job.id for job in jobs)), [(name, *values) for name, values in differing.items()]
    )


def differences(specs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The fields, by dotted name, whose values differ between specs. A missing field is shown as a dash."""
    flat = [_flat(spec) for spec in specs]
    names = dict.fromkeys(name for spec in flat for name in spec if name != "name")
    found = {name: [spec.get(name, "-") for spec in flat] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _flat(value: Any, at: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        parts = (_flat(part, f"{at}.{key}".lstrip(".")) for key, part in value.items())
        return {name: text for part in parts for name, text in part.items()}
    return {at: value if isinstance(value, str) else dumps(value, ensure_ascii=False)}


def _costs(client: Client, job: Job) -> dict[str, Any]:
    """The student's part of the report and its latency; empty unless the job succeeded and has a report."""
    if job.state != "succeeded":
        return {}
    try:
        report = client.jobs.report(job.id)
    except NotFound:
        return {}
    return {**report.get("student", {}), "latency_ms": _single_image_ms(report)}


def _single_image_ms(report: dict[str, Any]) -> float | None:
    """Median latency of the float32 file for one image with the fewest threads that the worker measured."""
    measured = [each for each in report.get("measurements", ()) if (each["precision"], each["batch"]) == ("fp32", 1)]
    return min(measured, key=lambda each: each["threads"])["p50_ms"] if measured else None


def _row(job: Job, cost: dict[str, Any]) -> tuple[str, ...]:
    accuracy = job.accuracy
    top1 = accuracy.student if accuracy is not None else None
    gap = accuracy.change_points if accuracy is not None else None
    ms = cost.get("latency_ms")
    return (
        job.name or job.id,
        job.state,
        job.student,
        "-" if top1 is None else f"{top1:.2%}",
        "-" if gap is None else f"{gap:+.2f}",
        count(cost.get("parameters")),
        count(cost.get("macs")),
        "-" if ms is None else f"{ms:.2f} ms",
    )
