"""`ttm logs`: what the trainer printed."""

import sys
from typing import Annotated

import typer

from ttm_client.cli.jobs.show import JobArgument
from ttm_client.cli.output import JsonOption, UrlOption, print_json, service


def logs(
    job_id: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on, until the job has ended.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Print what the trainer of the newest attempt has printed. With --json --follow an object for each piece.

    The exit code is 4 while there is nothing.
    """
    with service(url) as client:
        for text in client.jobs.follow_log(job_id) if follow else [client.jobs.log(job_id)]:
            if json:
                print_json({"job": job_id, "log": text})
            else:
                sys.stdout.write(text)
                sys.stdout.flush()
