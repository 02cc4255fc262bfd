"""`ttm cancel`."""

from cli.output import JsonOption, UrlOption, console, print_json, service
from cli.show import JobArgument


def cancel(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Cancel a job. A running one is `cancelling` until its worker has let go."""
    with service(url) as client:
        job = client.jobs.cancel(job_id)
    if json:
        print_json(job)
    else:
        console.print(f"{job.id} is {job.state}", highlight=False)
