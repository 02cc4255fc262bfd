"""`ttm up`."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from cli.stack.stack import Stack, StackError, StackOptions
from ttm_client.cli.output import FAILED, JsonOption, console, fail, messages, print_json
from ttm_jobs.processes import make_files_private


def up(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any address but loopback requires an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 selects a free port.")] = 8000,
    broker_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the embedded broker; 0 selects a free port.")
    ] = 0,
    var: Annotated[Path, typer.Option(help="Data folder of the service.")] = Path("var"),
    workers: Annotated[int, typer.Option(min=0, max=64, help="Number of worker processes.")] = 1,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Folder that jobs may read through file:// URIs. Repeatable."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run API, dispatcher, worker, broker and database on this machine until Ctrl-C.

    TTM_DATABASE_URL and TTM_BROKER_URL replace the embedded database and broker. Logs are in VAR/log. Resumes from
    existing state in VAR.
    """
    options = StackOptions(
        var=var, host=host, port=port, broker_port=broker_port, workers=workers, data_roots=tuple(data_root or ())
    )
    _check_settings()
    make_files_private()
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
    except OSError as error:
        fail(f"The data folder {var} cannot be used: {error}", FAILED)


def _check_settings() -> None:
    """Exits with a message if a TTM_* variable is invalid: each process would exit, and be restarted several times."""
    # Imported here because it slows down the start of every command.
    from pydantic import ValidationError

    from ttm_jobs.settings import Settings

    try:
        Settings()
    except ValidationError as error:
        problems = [(problem["loc"], problem["msg"]) for problem in error.errors(include_input=False)]
        lines = "; ".join(f"TTM_{str(place[0]).upper()}: {text}" if place else text for place, text in problems)
        fail(f"The settings are invalid. {lines}", FAILED)
    except ValueError as error:  # text that is not JSON, or an unreadable secret file
        fail(f"The settings are invalid: {error}", FAILED)
