"""`ttm up`: the whole service in the foreground."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from cli.stack.stack import Stack, StackError, StackOptions
from ttm_client.cli.output import FAILED, JsonOption, console, fail, messages, print_json


def up(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8000,
    broker_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the embedded broker; 0 takes a free one.")
    ] = 0,
    var: Annotated[Path, typer.Option(help="Folder for everything the service keeps.")] = Path("var"),
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes on this machine.")] = 1,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder that jobs may read by file:// addresses; may be repeated."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run API, dispatcher, worker, broker and database on this machine until Ctrl-C.

    A database or broker named by TTM_DATABASE_URL or TTM_BROKER_URL is used instead of an embedded one. Logs are in
    VAR/log. What is there from an earlier run is gone on with.
    """
    options = StackOptions(
        var=var, host=host, port=port, broker_port=broker_port, workers=workers, data_roots=tuple(data_root or ())
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Stack(options, report=lambda line: messages.print(line, highlight=False), stop=stop) as stack:
            if json:
                print_json({"url": stack.url, "dashboard": f"{stack.url}/", "docs": f"{stack.url}/docs"})
            else:
                console.print(f"ready  {stack.url}  dashboard {stack.url}/  API docs {stack.url}/docs", highlight=False)
            while not stop.wait(0.5):
                stack.check()
            messages.print("stopping", highlight=False)
    except StackError as error:
        if not stop.is_set():
            fail(str(error), FAILED)
