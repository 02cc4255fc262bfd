"""`ttm jobs`."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated

import typer

from ttm_client import JobFilters, JobSummary
from ttm_client.cli import completion
from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, local_time, print_json, print_rows, service
from ttm_client.cli.resources.views import ViewOption, filters_of


def jobs(
    state: Annotated[
        list[str] | None, typer.Option(help="Only jobs in this state. Repeatable.", autocompletion=completion.states)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only jobs with this tag. Repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs whose name contains this text.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs submitted with the API key of this name.")] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Only jobs of this study: its id, a unique prefix of it, or its name; `none`: only jobs that "
            "belong to no study.",
            autocompletion=completion.study_ids,
        ),
    ] = None,
    view: ViewOption = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List jobs, newest first. Other options replace the same filters of `--view`; its order and groups are ignored."""
    with service(url) as client:
        saved: Mapping[str, Sequence[str]] = filters_of(client, "jobs", view) if view is not None else {}
        filters = _filters(saved) if view is not None else {}
        if name is not None:
            filters["name"] = name
        if owner is not None:
            filters["owner"] = owner
        if study is not None:
            filters["study"] = study
        states, tags = tuple(state or saved.get("state", ())), tuple(tag or saved.get("tag", ()))
        found = list(islice(client.jobs.list(states=states, tags=tags, **filters), limit))
    if json:
        print_json(found)
    else:
        print_rows(
            ("ID", "NAME", "STATE", "OWNER", "STUDENT", "METHOD", "PROGRESS", "TOP-1", "CREATED"),
            [_row(job) for job in found],
            optional=("METHOD", "CREATED", "OWNER", "STUDENT", "PROGRESS"),
        )


def _filters(saved: Mapping[str, Sequence[str]]) -> JobFilters:
    """The filters of a saved view that have one value. A view without `study` hides the jobs of studies, as the page
    does.
    """
    filters: JobFilters = {}
    study = (saved.get("study") or ("none",))[-1]
    if study != "all":
        filters["study"] = study
    for field in ("name", "teacher", "dataset", "owner"):
        if values := saved.get(field):
            filters[field] = values[-1]
    return filters


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
        local_time(job.created_at),
    )
