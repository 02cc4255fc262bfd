"""`ttm watch` and `ttm logs`."""

import sys
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from ttm_client import Client, JobEvent
from ttm_client.cli.jobs.show import JobArgument, describe, full_id
from ttm_client.cli.output import FAILED, JsonOption, UrlOption, duration, messages, print_json, print_rows, service
from ttm_client.cli.text import neutralized
from ttm_client.models.jobs import TERMINAL_STATES


def watch(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Follow a job until it ends, across dropped connections. With --json, print one event per line.

    The exit code is 0 if the job succeeds and 1 if it fails or is cancelled.
    """
    with service(url) as client:
        follow(client, full_id(client, job_id), json=json)


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


def follow(client: Client, job_id: str, *, json: bool) -> None:
    """Shows a job's events until it has ended. Exits with 1 unless the job succeeds."""
    with ExitStack() as stack:
        live = None if json or not messages.is_interactive else stack.enter_context(LiveView())
        for event in client.jobs.events(job_id):
            if json:
                print_json(event)
            elif live is not None:
                live.show(event)
            elif event.kind in ("state", "phase"):
                messages.print(
                    f"{event.at.astimezone():%H:%M:%S} {event.kind} {event.data[event.kind]}", highlight=False
                )
            sys.stdout.flush()
    job = client.jobs.get(job_id)
    if not json:
        print_rows(("", ""), describe(job))
    if job.state != "succeeded":
        raise typer.Exit(FAILED)


_NUMBERS = ("left", "loss", "top-1", "teacher", "images/s")


class LiveView:
    """A progress bar with phase, loss, accuracy, throughput and remaining time."""

    def __init__(self) -> None:
        # On a narrow terminal only the last column is truncated, so its most important numbers come first.
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=9)),
            BarColumn(bar_width=16, table_column=Column(no_wrap=True, min_width=8)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        self._bar = Progress(*columns, console=messages)
        self._task = self._bar.add_task("queued", total=None, numbers="")
        self._numbers: dict[str, str] = {}

    def __enter__(self) -> "LiveView":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: JobEvent) -> None:
        """Updates the bar with one event."""
        data = event.data
        match event.kind:
            case "state" | "phase":
                self._bar.update(self._task, description=escape(neutralized(str(data[event.kind]))))
                if data.get("state") in TERMINAL_STATES:
                    self._numbers.pop("left", None)
            case "teacher_measured":
                self._numbers["teacher"] = f"{data['top1']:.2%}"
            case "progress":
                self._numbers["images/s"] = f"{data['images_per_second']:.0f}"
                if data.get("eta_seconds") is not None:
                    self._numbers["left"] = duration(data["eta_seconds"])
                self._bar.update(self._task, completed=data["step"], total=data["total_steps"])
            case "metrics":
                self._take_metrics(data["values"])
            case "log":
                self._bar.console.print(data["message"], markup=False, highlight=False)
        numbers = [f"{name} {self._numbers[name]}" for name in _NUMBERS if name in self._numbers]
        self._bar.update(self._task, numbers="  ".join(numbers))

    def _take_metrics(self, values: dict[str, Any]) -> None:
        loss, top1 = values.get("train/loss"), values.get("validation/top1")
        if isinstance(loss, int | float):
            self._numbers["loss"] = f"{loss:.4f}"
        if isinstance(top1, int | float):
            self._numbers["top-1"] = f"{top1:.2%}"
