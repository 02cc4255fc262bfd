"""`ttm jobs`: the list."""

from itertools import islice
from typing import Annotated

import typer

from ttm_client import JobFilters, JobSummary
from ttm_client.cli.completion import states
from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, moment, print_json, print_rows, service


def jobs(
    state: Annotated[
        list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.", autocompletion=states)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only jobs with this tag; may be repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this whole name.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs that a key of this name submitted.")] = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List jobs, newest first."""
    with service(url) as client:
        named: JobFilters = {}
        if name is not None:
            named["name"] = name
        if owner is not None:
            named["owner"] = owner
        found = list(islice(client.jobs.list(states=tuple(state or ()), tags=tuple(tag or ()), **named), limit))
    if json:
        print_json(found)
    else:
        print_rows(
            ("ID", "NAME", "STATE", "OWNER", "STUDENT", "METHOD", "PROGRESS", "TOP-1", "CREATED"),
            [_row(job) for job in found],
            spare=("METHOD", "CREATED", "OWNER", "STUDENT", "PROGRESS"),
        )


def _row(job: JobSummary) -> tuple[str, ...]:
    why = job.failure.code if job.failure is not None and job.state == "failed" else job.phase
    progress = f"{job.progress.fraction:.0%}" if job.progress is not None else ""
    top1 = job.accuracy.student if job.accuracy is not None else None
    return (
        job.id,
        job.name or "",
        job.state + (f" ({why})" if why else ""),
        job.owner or "",
        job.student,
        job.method,
        progress,
        f"{top1:.2%}" if top1 is not None else "",
        moment(job.created_at),
    )
