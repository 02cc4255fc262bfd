"""`ttm cancel` and `ttm tag`: changes of one or several jobs, by id or by filters."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ttm_client import BulkResult, JobFilters
from ttm_client.cli.completion import job_ids, states, study_ids
from ttm_client.cli.output import CONFLICT, JsonOption, UrlOption, console, messages, print_json, service

_Jobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB", help="Ids, unique prefixes of ids, or names of jobs.", autocompletion=job_ids),
]
_States = Annotated[
    list[str] | None, typer.Option("--state", help="All jobs in this state. Repeatable.", autocompletion=states)
]
_Tags = Annotated[list[str] | None, typer.Option("--tag", help="All jobs with this tag. Repeatable: all of the tags.")]
_Name = Annotated[str | None, typer.Option(help="All jobs whose name contains this text.")]
_Owner = Annotated[str | None, typer.Option(help="All jobs submitted with the API key of this name.")]
_Study = Annotated[
    str | None,
    typer.Option(
        help="All jobs of this study: its id, a unique prefix of it, or its name; `none`: all jobs that belong to no "
        "study.",
        autocompletion=study_ids,
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the jobs without changing them.")]


def cancel(
    jobs: _Jobs = None,
    state: _States = None,
    tag: _Tags = None,
    name: _Name = None,
    owner: _Owner = None,
    study: _Study = None,
    dry_run: _DryRun = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Cancel jobs: those named, or all that match the filters and have not ended. A running job is `cancelling` until
    its worker has stopped.
    """
    filters = _filters(name, owner, study)
    _check_selection(jobs, state, tag, filters, dry_run=dry_run)
    with service(url) as client:
        if jobs and len(jobs) == 1:
            # Its error is that of the command.
            job = client.jobs.cancel(jobs[0])
            print_json(job) if json else console.print(f"{job.id} is {job.state}", highlight=False)
            return
        if jobs:
            results = client.jobs.cancel_many(jobs)
        else:
            results = client.jobs.cancel_matching(
                states=tuple(state or ()), tags=tuple(tag or ()), dry_run=dry_run, **filters
            )
    _print(results, [f"is {result.state}" for result in results], json=json)


def tag(
    jobs: _Jobs = None,
    add: Annotated[list[str] | None, typer.Option("--add", help="Tag to add. Repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Tag to remove. Repeatable.")] = None,
    state: _States = None,
    with_tag: _Tags = None,
    name: _Name = None,
    owner: _Owner = None,
    study: _Study = None,
    dry_run: _DryRun = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Add tags to jobs or remove some: of those named, or of all that match the filters. Prints the tags."""
    filters = _filters(name, owner, study)
    _check_selection(jobs, state, with_tag, filters, dry_run=dry_run)
    with service(url) as client:
        if jobs:
            results = client.jobs.tag_many(jobs, add=add or (), remove=remove or ())
        else:
            results = client.jobs.tag_matching(
                add=add or (),
                remove=remove or (),
                states=tuple(state or ()),
                tags=tuple(with_tag or ()),
                dry_run=dry_run,
                **filters,
            )
    _print(results, [f"has the tags {' '.join(result.tags or ()) or '-'}" for result in results], json=json)


def _filters(name: str | None, owner: str | None, study: str | None) -> JobFilters:
    filters: JobFilters = {}
    if name is not None:
        filters["name"] = name
    if owner is not None:
        filters["owner"] = owner
    if study is not None:
        filters["study"] = study
    return filters


def _check_selection(
    jobs: Sequence[str] | None,
    states: Sequence[str] | None,
    tags: Sequence[str] | None,
    filters: JobFilters,
    *,
    dry_run: bool,
) -> None:
    filtered = bool(states or tags or filters)
    if bool(jobs) == filtered:
        raise typer.BadParameter("name jobs, or give at least one filter such as --state or --tag", param_hint="JOB")
    if jobs and dry_run:
        raise typer.BadParameter("needs a filter", param_hint="--dry-run")


def _print(results: Sequence[BulkResult], outcomes: Sequence[str], *, json: bool) -> None:
    """Prints a line per job. Exits with CONFLICT if one is unchanged."""
    if json:
        print_json(results)
    for result, outcome in zip(results, outcomes, strict=True):
        if not json:
            text = outcome if result.error is None else f"is unchanged: {result.error['message']}"
            console.print(f"{result.id} {text}", highlight=False)
    if not results:
        messages.print("No job matches.")
    if any(result.error is not None for result in results):
        raise typer.Exit(CONFLICT)
