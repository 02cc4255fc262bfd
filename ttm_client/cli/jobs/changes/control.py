"""`ttm pause`, `ttm resume`, `ttm retry`, `ttm delete` and `ttm open`."""

import typer

from ttm_client import Job
from ttm_client.cli.jobs.show import JobArgument, full_id
from ttm_client.cli.output import JsonOption, UrlOption, YesOption, console, delete_confirmed, print_json, service


def pause(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Pause a job. A running job saves a checkpoint and frees its worker."""
    with service(url) as client:
        _print_state(client.jobs.pause(job_id), json=json)


def resume(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Resume a paused job from its last checkpoint."""
    with service(url) as client:
        _print_state(client.jobs.resume(job_id), json=json)


def retry(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Submit a failed or cancelled job again, as a new job."""
    with service(url) as client:
        _print_state(client.jobs.retry(job_id), json=json)


def delete(
    job_id: JobArgument,
    yes: YesOption = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Delete a job that has ended, with its metrics and files."""
    with service(url) as client:
        delete_confirmed(client.jobs, client.jobs.get(job_id), "its files", yes=yes, json=json)


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
