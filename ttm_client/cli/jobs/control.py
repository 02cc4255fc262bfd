"""`ttm cancel`."""

from ttm_client import Job
from ttm_client.cli.jobs.show import JobArgument
from ttm_client.cli.output import JsonOption, UrlOption, console, print_json, service


def cancel(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Cancel a job. A running one is `cancelling` until its worker has let go."""
    with service(url) as client:
        job = client.jobs.cancel(job_id)
    if json:
        print_json(job)
    else:
        console.print(f"{job.id} is {job.state}", highlight=False)


def pause(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Pause a job. A running one saves a checkpoint first and frees its worker."""
    with service(url) as client:
        _tell(client.jobs.pause(job_id), json=json)


def resume(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Queue a paused job again; it goes on from its last checkpoint."""
    with service(url) as client:
        _tell(client.jobs.resume(job_id), json=json)


def retry(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Submit a failed or cancelled job again, as a new job."""
    with service(url) as client:
        _tell(client.jobs.retry(job_id), json=json)


def _tell(job: Job, *, json: bool) -> None:
    if json:
        print_json(job)
    else:
        console.print(f"{job.id} is {job.state}", highlight=False)
