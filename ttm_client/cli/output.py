"""How commands speak: tables for people, tabs for pipes, JSON when asked; errors as exit codes."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from ttm_client import (
    ApiError,
    Client,
    ClientError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    Unavailable,
)

UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="TTM_URL", help="The service.", show_default="http://127.0.0.1:8000")
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]

console = Console(soft_wrap=True)
messages = Console(stderr=True, soft_wrap=True)

FAILED, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT, INTERRUPTED = 1, 2, 3, 4, 5, 130

EXIT_CODES = (
    "Exit codes: 0 done, 1 the job failed or was cancelled or something broke, 2 wrong usage or refused input, "
    "3 the service cannot be reached, 4 no such thing, 5 not possible in its state, 130 interrupted."
)


@contextmanager
def service(url: str | None) -> Iterator[Client]:
    """A client whose errors end the command with a message and the exit code that stands for them."""
    try:
        with Client(url) as client:
            yield client
    except ClientError as error:
        fail(_words(error), _code(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str, code: int) -> None:
    """End the command with a message on standard error."""
    messages.print(f"[bold red]error[/] {escape(message)}", highlight=False)
    raise typer.Exit(code)


def print_json(value: object) -> None:
    """JSON on standard output, on one line, for another program."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> None:
    """A table on a terminal, tab-separated lines into a pipe. Where a terminal is too narrow for a table, the `spare`
    columns give way, the first first.
    """
    if not console.is_terminal:
        for row in rows:
            sys.stdout.write("\t".join(row) + "\n")
        return
    shown = _that_fit(columns, rows, spare)
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=any(columns))
    for index in shown:
        table.add_column(columns[index], overflow="fold", no_wrap=columns[index] in _WHOLE)
    for row in rows:
        table.add_row(*(escape(row[index]) for index in shown))
    console.print(table)


# What is copied: broken over two lines it cannot be.
_WHOLE = ("ID", "ADDRESS", "CREATED")
# A cell may be broken into lines of so many characters before a column gives way to it.
_NARROW = 16


def _that_fit(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str]) -> list[int]:
    """The columns to show, by their places."""
    widths = [max(cell_len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    needed = [
        width if column in _WHOLE else max(min(width, _NARROW), cell_len(column))
        for column, width in zip(columns, widths, strict=True)
    ]
    shown = list(range(len(columns)))
    for column in spare:
        if sum(needed[index] + 2 for index in shown) - 2 > console.width:
            shown.remove(columns.index(column))
    return shown


def count(number: int | None) -> str:
    """Parameters or MACs for people, with three digits and a unit."""
    if number is None:
        return "-"
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def moment(at: datetime) -> str:
    """A time in the reader's zone, to the minute."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def transfer(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for bytes on their way, on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=messages, disable=quiet or not messages.is_terminal, transient=True) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _words(error: ClientError) -> str:
    if isinstance(error, ConnectionFailed):
        return f"{error}\n      Is the service running? Start it with: ttm up"
    if isinstance(error, ApiError) and error.status >= 500:
        return f"{error} (request {error.request_id})"
    return str(error)


def _code(error: ClientError) -> int:
    match error:
        case NotFound():
            return NOT_FOUND
        case Conflict():
            return CONFLICT
        case InvalidRequest():
            return USAGE
        case ConnectionFailed() | Unavailable():
            return UNREACHABLE
        case _:
            return FAILED
