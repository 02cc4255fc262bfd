"""`ttm pause`, `ttm resume`, `ttm retry`: what may be asked of a job beside its end."""

from cli.output import JsonOption, UrlOption, console, print_json, service
from cli.show import JobArgument
from ttm_client import Job


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
