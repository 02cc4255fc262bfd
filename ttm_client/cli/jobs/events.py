"""`ttm events`."""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from ttm_client import JobEvent
from ttm_client.cli.output import JsonOption, UrlOption, console, print_json, service
from ttm_client.cli.text import neutralized


def events(
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type, such as job.state; may be repeated.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Start after this event; 0 for all stored events. Default: new events.")
    ] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Follow all jobs and studies of the project, across dropped connections, until Ctrl-C. With --json, print one
    event per line.
    """
    with service(url) as client:
        start = None if after is None else str(after)
        for event in client.events.stream(types=types or (), last_event_id=start):
            if json:
                print_json(event)
            else:
                console.print(escape(neutralized(_line(event))), highlight=False)
            sys.stdout.flush()


def _line(event: JobEvent) -> str:
    data = event.data
    name = f" ({data['name']})" if data.get("name") else ""
    _, _, field = event.kind.partition(".")
    value = f" {data[field]}" if isinstance(data.get(field), str) else ""
    return f"{event.at.astimezone():%H:%M:%S} {event.kind}{value} {data.get('job_id') or data['study_id']}{name}"
