"""Output of commands: tables on terminals, tab-separated lines in pipes, JSON with --json, and exit codes."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.cells import cell_len, set_cell_size
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from ttm_client import (
    ApiError,
    Client,
    ClientError,
    Conflict,
    ConnectionFailed,
    HubUnreachable,
    InvalidRequest,
    Job,
    NotAllowed,
    NotFound,
    Unavailable,
)
from ttm_client.cli.streams import can_write
from ttm_client.cli.text import SafeConsole, json_escaped, neutralized
from ttm_client.models.studies import Study
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.resources.studies import Studies

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="TTM_URL", help="URL of the service.", show_default="http://127.0.0.1:8000"),
]


def sliceable(limit: int) -> int:
    """The largest number up to `limit` that `islice` takes."""
    return min(limit, sys.maxsize)


LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, callback=sliceable, help="Maximum number of rows.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only JSON to standard output.")]

console = SafeConsole(soft_wrap=True)
messages = SafeConsole(stderr=True, soft_wrap=True)

FAILED, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT, INTERRUPTED = 1, 2, 3, 4, 5, 130

EXIT_CODES = (
    "Exit codes: 0 success, 1 an error or a job that failed or was cancelled, 2 wrong usage or invalid input, "
    "3 the service cannot be reached, 4 not found, 5 not possible in the current state, 130 interrupted."
)


@contextmanager
def service(url: str | None) -> Iterator[Client]:
    """A client whose errors end the command with a message and the matching exit code."""
    try:
        client = Client(url)
    except ValueError as error:
        fail(str(error), USAGE)
    try:
        with client:
            yield client
    except ClientError as error:
        fail(_message(error), _code(error))
    except UnicodeEncodeError as error:
        fail(f"{error.object!r} is not valid UTF-8.", USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str, code: int) -> None:
    """Ends the command with a message on standard error."""
    print_error(message)
    raise typer.Exit(code)


def print_error(message: str) -> None:
    """Prints a message about an error on standard error."""
    messages.print(f"[bold red]error[/] {escape(message)}", highlight=False)


def print_json(value: object) -> None:
    """Prints one line of JSON to standard output, with all characters but ASCII escaped unless the output is UTF-8."""
    document = json.dumps(value, ensure_ascii=False, default=_plain)
    if not can_write(document):
        document = json.dumps(value, default=_plain)
    sys.stdout.write(json_escaped(document) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def delete_confirmed(resource: Jobs | Studies, found: Job | Study, what: str, *, yes: bool, json: bool) -> None:
    """Deletes a job or study and what belongs to it, which the question calls `what`. Does not ask with `yes`."""
    if not yes:
        typer.confirm(f"Delete {found.name or found.id} ({found.state}) with {what}?", abort=True, err=True)
    resource.delete(found.id)
    if json:
        print_json({"id": found.id, "deleted": True})
    else:
        console.print(f"{found.id} is deleted", highlight=False)


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    optional: Sequence[str] = (),
    *,
    whole: Sequence[str] = (),
    wrapped: Sequence[str] = (),
) -> None:
    """Prints a table on a terminal and tab-separated lines into a pipe.

    On a terminal, each row is one line: on a narrow one, the `optional` columns are dropped in their order, then the
    widest cells are shortened. Columns in `whole` are not shortened, those in `wrapped` continue on the next line.
    If that is not enough, each cell is one line, after its title. Without titles, the rows are names and values, and
    all cells wrap.
    """
    rows = [[neutralized(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        for row in rows:
            sys.stdout.write("\t".join(row) + "\n")
        return
    titled = any(columns)
    fixed = {*_WHOLE, *whole}
    shown = _fitting_columns(columns, rows, optional, fixed)
    widths = _widths(columns, rows, shown, fixed, wrapped) if titled else {}
    if sum(widths.values()) + 2 * (len(widths) - 1) > console.width:
        _print_records(columns, rows)
        return
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=titled)
    if not titled and rows:
        table.add_column(overflow="fold", width=_width_of_names(rows))
        table.add_column(overflow="fold")
        shown = []
    for index in shown:
        if titled and columns[index] not in wrapped:
            table.add_column(columns[index], no_wrap=True, width=widths[index])
        else:
            table.add_column(columns[index], overflow="fold", width=widths.get(index))
    for row in rows:
        cells = (row[index] if columns[index] in wrapped else shortened(row[index], widths[index]) for index in shown)
        table.add_row(*map(escape, cells if titled else row))
    console.print(table)


def _width_of_names(rows: Sequence[Sequence[str]]) -> int:
    """The width of the names in a table of names and values. Names continue on the next line where the longest word of
    the values, such as an id, would not fit otherwise.
    """
    least = max(cell_len(word) for name, *_ in rows for word in name.split() or [""])
    room = console.width - 2 - least
    words = (cell_len(word) for _, *values in rows for value in values for word in value.split())
    longest = max((word for word in words if word <= room), default=0)
    return min(max(cell_len(name) for name, *_ in rows), console.width - 2 - longest)


def _print_records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints the cells of each row that are not empty below each other, with an empty line between rows."""
    width = max(map(cell_len, columns))
    for number, row in enumerate(rows):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", no_wrap=True, width=width)
        table.add_column(overflow="fold")
        for column, cell in zip(columns, row, strict=True):
            if cell:
                table.add_row(column, escape(cell))
        if number:
            console.print()
        console.print(table)


def shortened(text: str, width: int) -> str:
    """One line of at most `width` columns. What is too long has an ellipsis in its middle, because long names often
    differ only at their end.
    """
    line = " ".join(text.split("\n"))
    if cell_len(line) <= width:
        return line
    head, tail = set_cell_size(line, width // 2).rstrip(), line
    while cell_len(tail) > width - 1 - cell_len(head):
        tail = tail[1:]
    return f"{head}…{tail}"


# Never shortened: what users copy, and numbers.
_WHOLE = (
    *("ID", "REFERENCE", "CREATED", "TOP-1", "LATENCY", "MS", "SIZE", "FP32 / INT8", "PARAMETERS", "MACS"),
    *("RETENTION", "PROBABILITY", "95 % INTERVAL"),
)
# Cells are shortened to this width before a column is dropped, and to the smaller one after that.
_NARROW, _NARROWEST = 16, 6


def _natural_widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(cell_len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]


def _fitting_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str], fixed: Collection[str]
) -> list[int]:
    """The indices of the columns to show."""
    needed = [
        width if column in fixed else max(min(width, _NARROW), cell_len(column))
        for column, width in zip(columns, _natural_widths(columns, rows), strict=True)
    ]
    shown = list(range(len(columns)))
    for column in optional:
        if sum(needed[index] + 2 for index in shown) - 2 > console.width:
            shown.remove(columns.index(column))
    return shown


def _widths(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    shown: Sequence[int],
    fixed: Collection[str],
    wrapped: Collection[str],
) -> dict[int, int]:
    """The width of each shown column. The widest columns that are not `fixed` give up what is missing; titles stay
    whole, except those of `wrapped` columns.
    """
    natural = _natural_widths(columns, rows)
    widths = {index: natural[index] for index in shown}
    least = {
        index: _NARROWEST if columns[index] in wrapped else max(cell_len(columns[index]), _NARROWEST)
        for index in shown
        if columns[index] not in fixed
    }
    missing = sum(widths.values()) + 2 * (len(shown) - 1) - console.width
    for _ in range(missing):
        room = [index for index, width in least.items() if widths[index] > width]
        if not room:
            break
        widths[max(room, key=widths.__getitem__)] -= 1
    return widths


def count(number: int | None) -> str:
    """A count with three significant digits and a unit prefix."""
    if number is None:
        return "-"
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def size(count: float) -> str:
    """Bytes in decimal units with three significant digits, as on the dashboard and in limits: 1.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def local_time(at: datetime) -> str:
    """A time in the local time zone, to the minute."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """A duration as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def transfer(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a transfer, on terminals that can redraw a line only."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=messages, disable=quiet or not messages.is_interactive, transient=True) as bar:
        task = bar.add_task(escape(neutralized(what)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _message(error: ClientError) -> str:
    if isinstance(error, ConnectionFailed) and error.proxy is not None:
        return f"{error}\n      Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY. NO_PROXY lists hosts to reach without one."
    if isinstance(error, ConnectionFailed) and "[SSL" in str(error):
        return f"{error}\n      Check http:// or https:// in the URL, and the certificate of the service."
    if isinstance(error, ConnectionFailed):
        return f"{error}\n      Is the service running? Start it with `ttm up`."
    if isinstance(error, NotAllowed) and error.status == 401:
        return f"{error}\n      Set TTM_API_KEY to a valid key."
    if isinstance(error, ApiError) and error.status >= 500 and error.request_id is not None:
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
        case ConnectionFailed() | Unavailable() | HubUnreachable():
            return UNREACHABLE
        case _:
            return FAILED
