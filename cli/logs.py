"""`ttm logs`: what the trainer printed."""

import sys
from typing import Annotated

import typer

from cli.output import JsonOption, UrlOption, messages, print_json, service
from cli.show import JobArgument


def logs(
    job_id: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for the job's end, and show its messages meanwhile.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Print the trainer's output, which is kept when an attempt ends.

    The exit code is 4 while no attempt has ended.
    """
    with service(url) as client:
        if follow:
            for event in client.jobs.events(job_id):
                if event.kind == "log":
                    messages.print(event.data["message"], markup=False, highlight=False)
        text = client.jobs.log(job_id)
    if json:
        print_json({"job": job_id, "log": text})
    else:
        sys.stdout.write(text)
