"""`ttm cancel`, `ttm pause`, `ttm resume` and `ttm retry`."""

from ttm_client import Job
from ttm_client.cli.jobs.show import JobArgument, full_id
from ttm_client.cli.output import JsonOption, UrlOption, console, print_json, service


def cancel(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Cancel a job. A running job is `cancelling` until its worker has stopped."""
    with service(url) as client:
        _print_state(client.jobs.cancel(full_id(client, job_id)), json=json)


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


def _print_state(job: Job, *, json: bool) -> None:
    if json:
        print_json(job)
    else:
        console.print(f"{job.id} is {job.state}", highlight=False)
