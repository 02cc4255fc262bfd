"""`ttm cancel`, `ttm pause`, `ttm resume`, `ttm retry`, `ttm delete`, `ttm tag` and `ttm open`."""

from typing import Annotated

import typer

from ttm_client import Job
from ttm_client.cli.jobs.show import JobArgument, JobArguments, full_id
from ttm_client.cli.output import JsonOption, UrlOption, console, print_json, service


def cancel(job_ids: JobArguments, json: JsonOption = False, url: UrlOption = None) -> None:
    """Cancel jobs. A running job is `cancelling` until its worker has stopped."""
    with service(url) as client:
        if len(job_ids) == 1:
            _print_state(client.jobs.cancel(full_id(client, job_ids[0])), json=json)
            return
        results = client.jobs.cancel_many([full_id(client, each) for each in job_ids])
    if json:
        print_json(results)
    else:
        for result in results:
            outcome = f"is {result.state}" if result.error is None else f"was not cancelled: {result.error['message']}"
            console.print(f"{result.id} {outcome}", highlight=False)
    if any(result.error is not None for result in results):
        raise typer.Exit(5)


def pause(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Pause a job. A running job saves a checkpoint and frees its worker."""
    with service(url) as client:
        _print_state(client.jobs.pause(full_id(client, job_id)), json=json)


def resume(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Resume a paused job from its last checkpoint."""
    with service(url) as client:
        _print_state(client.jobs.resume(full_id(client, job_id)), json=json)


def retry(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Submit a failed or cancelled job again, as a new job."""
    with service(url) as client:
        _print_state(client.jobs.retry(full_id(client, job_id)), json=json)


def delete(
    job_id: JobArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Delete a job that has ended, with its metrics and files."""
    with service(url) as client:
        found = client.jobs.get(full_id(client, job_id))
        if not yes:
            typer.confirm(f"Delete {found.name or found.id} ({found.state}) with its files?", abort=True)
        client.jobs.delete(found.id)
    if json:
        print_json({"id": found.id, "deleted": True})
    else:
        console.print(f"{found.id} is deleted", highlight=False)


def tag(
    job_id: JobArgument,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Tag to remove; may be repeated.")] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Add tags to a job, or remove some. Prints the job's tags."""
    with service(url) as client:
        found = client.jobs.get(full_id(client, job_id))
        kept = [each for each in dict.fromkeys([*found.tags, *(tags or [])]) if each not in (remove or [])]
        if kept != [*found.tags]:
            found = client.jobs.update(found.id, tags=kept)
    if json:
        print_json(found)
    else:
        console.print(" ".join(found.tags), highlight=False)


def open_page(
    job_id: JobArgument,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Open the job's page in the browser. With --json, print its address instead."""
    with service(url) as client:
        address = f"{client.base_url.rstrip('/')}/ui/jobs/{full_id(client, job_id)}"
    # Without a browser, as over SSH, the address is what helps.
    if json:
        print_json({"page": address})
    elif typer.launch(address) != 0:
        console.print(address, highlight=False)


def _print_state(job: Job, *, json: bool) -> None:
    if json:
        print_json(job)
    else:
        console.print(f"{job.id} is {job.state}", highlight=False)
