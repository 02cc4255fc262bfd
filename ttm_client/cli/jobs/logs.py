"""`ttm logs`."""

import sys
from typing import Annotated

import typer

from ttm_client.cli.jobs.show import JobArgument, full_id
from ttm_client.cli.output import JsonOption, UrlOption, print_json, service
from ttm_client.cli.text import neutralized


def logs(
    job_id: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines until the job has ended.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Print the trainer's log of the newest attempt. With --json --follow, print one object per chunk.

    The exit code is 4 while the log is empty.
    """
    with service(url) as client:
        job_id = full_id(client, job_id)
        for text in client.jobs.follow_log(job_id) if follow else [client.jobs.log(job_id)]:
            if json:
                print_json({"job": job_id, "log": text})
            else:
                sys.stdout.write(neutralized(text) if sys.stdout.isatty() else text)
                sys.stdout.flush()
