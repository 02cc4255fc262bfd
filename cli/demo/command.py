"""`ttm demo`: the steps in order."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.demo import board, data, plan, study
from cli.stack.stack import PortTaken, Stack, StackError, StackOptions
from ttm_client import Client, ClientError, Job
from ttm_client.cli.output import FAILED, JsonOption, fail, print_json
from ttm_jobs.processes import make_files_private

console = Console()


@dataclass(frozen=True)
class Row:
    """A row of the final table, measured from the downloaded file alone."""

    label: str
    parameters: int
    size: int
    top1: float
    seconds: float | None


def demo(
    var: Annotated[Path, typer.Option(help="Data folder of the demo.")] = Path("var"),
    port: Annotated[int, typer.Option(help="Port of the API. If it is taken, a free port is used.")] = 8000,
    seed: Annotated[int, typer.Option(help="Random seed of the students.")] = 0,
    digits: Annotated[
        bool, typer.Option("--digits", help="Use scikit-learn's digits, which takes about a minute.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the service running until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a teacher, distill it with three methods through the REST API, compare the students, and let a study find
    the smallest one that meets limits.
    """
    started = time.monotonic()
    make_files_private()
    console.stderr = json
    if not console.is_terminal:
        console.width = 100
    try:
        console.print("[bold]Data[/]")
        cache = (var / "demo").resolve()
        found = data.digits(cache) if digits else data.obtain(cache, _note)
        console.print(f"  {found.name}, {data.images_in(found.folder):,} training images (from {found.origin})")
        count = plan.student_images(data.images_in(found.folder))
        small = data.first_images(
            found.folder, round(count / (1 - plan.VALIDATION_SHARE)), cache / f"{found.folder.name}-{count}"
        )
        with _stack(var, port, found.folder.parent) as stack, Client(stack.url) as client:
            console.print(f"  dashboard {stack.url}/   API docs {stack.url}/docs")
            dataset = {"uri": small.as_uri(), "validation": {"share": plan.VALIDATION_SHARE}}
            spec = plan.student_spec(flip=found.flip, seed=seed) | {"dataset": dataset}
            teacher_file = var / "demo" / f"teacher-{found.folder.name}.safetensors"
            training = _submit_teacher(client, found, teacher_file)
            # Labels alone need no teacher: that job trains on the other worker at the same time.
            jobs = _submit(client, [plan.LABELS], spec)
            if training is not None:
                board.follow(client, {"teacher": training}, console)
                client.jobs.download_student(training, teacher_file)
            teacher = _upload(client, teacher_file)
            console.print(f"[bold]Distill[/] into {plan.STUDENT} with {count:,} labelled images and three methods")
            jobs |= _submit(client, [each for each in plan.METHODS if each not in jobs], spec | {"teacher": teacher})
            # Queued now, the study uses a worker as soon as it is free.
            submitted = study.submit(client, teacher, dataset, flip=found.flip, seed=seed, console=console)
            done = board.follow(client, jobs, console)
            rows = _evaluate(client, found, teacher_file, done, var / "demo")
            _print_table(rows, found, count)
            ended = study.follow(client, submitted, console)
            client.studies.download_student(ended.id, var / "demo" / "student-study.safetensors")
            console.print(f"\nWhole demo: {time.monotonic() - started:.0f} s.")
            if json:
                print_json(
                    {
                        "data": found.name,
                        "labelled_images": count,
                        "models": [asdict(row) for row in rows],
                        "study": ended.id,
                        "recommendation": ended.recommendation and ended.recommendation.model_dump(mode="json"),
                    }
                )
            if keep:
                console.print(f"\nRunning at {stack.url} until Ctrl-C.")
                _until_interrupted(stack)
    except (StackError, ClientError, board.JobsFailed, study.StudyFailed) as error:
        fail(str(error), FAILED)
    console.print(
        "\nShow the jobs again: [bold].venv/bin/ttm up[/], then dashboard http://127.0.0.1:8000/ "
        "and API docs http://127.0.0.1:8000/docs",
        soft_wrap=True,
    )


def _upload(client: Client, teacher_file: Path) -> str:
    console.print("[bold]Upload[/] the teacher's checkpoint")
    upload = client.uploads.create(teacher_file)
    console.print(f"  {upload.uri}  {upload.size:,} bytes  sha256 {upload.sha256}")
    return upload.uri


def _submit(client: Client, labels: Iterable[str], spec: dict[str, Any]) -> dict[str, str]:
    """Submits one job per method; returns their ids by the label of the method."""
    return {label: client.jobs.create(name=f"demo: {label}", method=plan.METHODS[label], **spec).id for label in labels}


def _evaluate(client: Client, found: data.Data, teacher_file: Path, done: dict[str, Job], work: Path) -> list[Row]:
    console.print("[bold]Download[/] the students, verify their SHA-256, and evaluate each file")
    files = {"teacher": teacher_file}
    for label in plan.METHODS:
        files[label] = client.jobs.download_student(done[label].id, work / f"student-{label.lower()}.safetensors")
    return _rows(files, found.folder, {label: _seconds(job) for label, job in done.items()})


def _submit_teacher(client: Client, found: data.Data, path: Path) -> str | None:
    """Submits the teacher's training, an ordinary job, and returns its id; None if an earlier demo has trained it."""
    console.print(f"[bold]Teacher[/] {plan.TEACHER}, trained on labels")
    if path.exists():
        console.print(f"  reused: {path}")
        return None
    spec = plan.teacher_spec(data.images_in(found.folder), flip=found.flip)
    return client.jobs.create(name="demo: teacher", dataset=found.folder.as_uri(), **spec).id


def _rows(files: dict[str, Path], dataset: Path, seconds: dict[str, float | None]) -> list[Row]:
    """Evaluates the downloaded files on the test split in a separate process."""
    command = [sys.executable, "-m", "ttm_core", "evaluate", *map(str, files.values()), "--dataset", str(dataset)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.splitlines()
    return [
        Row(label, result["parameters"], path.stat().st_size, result["top1"], seconds.get(label))
        for (label, path), result in zip(files.items(), map(json.loads, lines), strict=True)
    ]


def _print_table(rows: list[Row], found: data.Data, count: int) -> None:
    teacher, labels = rows[0], rows[1]
    table = Table(title=f"{found.name}: test accuracy of each downloaded file", title_justify="left")
    for column in ("", "parameters", "size", "accuracy", "gap closed", "time"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        gap = teacher.top1 - labels.top1
        closed = f"{(row.top1 - labels.top1) / gap:.0%}" if row is not teacher and gap > 0 else "-"
        table.add_row(
            row.label,
            f"{row.parameters:,}",
            f"{row.size / 1000:,.0f} kB",
            f"{row.top1:.2%}",
            closed,
            "-" if row.seconds is None else f"{row.seconds:.0f} s",
        )
    console.print()
    console.print(table)
    console.print(
        f"One seed; every student is {plan.STUDENT} on {count:,} labelled images. "
        f"Gap closed: 0 % is training on labels, 100 % is the teacher.",
        soft_wrap=True,
    )


def _seconds(job: Job) -> float | None:
    return (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None


@contextmanager
def _stack(var: Path, port: int, data_root: Path) -> Iterator[Stack]:
    console.print("[bold]Service[/] starting: broker, database, API, dispatcher, two workers")
    stack = Stack(StackOptions(var=var, port=port, workers=2, data_roots=(data_root,)), report=_note)
    try:
        entered = stack.__enter__()
    except PortTaken:
        stack = Stack(StackOptions(var=var, port=0, workers=2, data_roots=(data_root,)), report=_note)
        entered = stack.__enter__()
    with ExitStack() as leaving:
        leaving.push(stack)
        yield entered


def _until_interrupted(stack: Stack) -> None:
    try:
        while True:
            time.sleep(1)
            stack.check()
    except KeyboardInterrupt:
        pass


def _note(line: str) -> None:
    console.print(f"  {line}", style="dim", highlight=False, markup=False)
