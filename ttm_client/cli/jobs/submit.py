"""`ttm submit`."""

import math
from enum import StrEnum
from typing import Annotated

import typer

from ttm_client import Dryrun
from ttm_client.cli.jobs.watch import follow
from ttm_client.cli.output import JsonOption, UrlOption, console, count, messages, print_json, print_rows, service
from ttm_client.cli.specs import (
    BatchSizeOption,
    DatasetOption,
    EpochsOption,
    MethodOption,
    NameOption,
    RecipeOption,
    SeedOption,
    SetOption,
    SpecFile,
    StudentOption,
    TeacherOption,
    assemble,
    send_files,
    whole,
)


class DeviceKind(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


def submit(
    spec_file: SpecFile = None,
    recipe: RecipeOption = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    dataset: DatasetOption = None,
    name: NameOption = None,
    method: MethodOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="Priority among the project's queued jobs; higher runs first.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Queue; only workers that serve it run the job.")] = None,
    device: Annotated[DeviceKind | None, typer.Option(help="Kind of device that the job needs.")] = None,
    device_memory: Annotated[
        float | None, typer.Option(min=0.1, max=2**20, help="Device memory that the job needs, in GB.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=100, help="Attempts before an infrastructure error fails the job.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Seconds from now, or a time with time zone: 2030-01-31T18:00+01:00.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag. Repeatable.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the spec and print sizes and cost without submitting.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Submit a distillation job.

    Local files are uploaded. A local folder becomes a file:// URI, which a service on the same machine can read if it
    was started with --data-root.
    """
    spec = assemble(
        spec_file,
        recipe=recipe,
        teacher=teacher,
        student=student,
        dataset=dataset,
        name=name,
        method=method,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        assignments=set_ or (),
    )
    options = {
        "priority": priority,
        "queue": queue,
        "device": device and device.value,
        "device_memory_bytes": None if device_memory is None else whole(device_memory * 10**9),
        "max_attempts": max_attempts,
        "deadline": _deadline(deadline),
        "tags": tag or None,
    }
    spec |= {name: value for name, value in options.items() if value is not None}
    with service(url) as client:
        send_files(spec, client, quiet=json)
        if dry_run:
            _print_dry_run(client.jobs.validate(**spec), json=json)
            return
        job = client.jobs.create(**spec)
        if json:
            print_json(job)
        else:
            console.print(job.id, highlight=False)
        if watch:
            follow(client, job.id, json=json)


def _print_dry_run(result: Dryrun, *, json: bool) -> None:
    if json:
        print_json(result)
        return
    rows = [
        (
            what,
            model.architecture,
            count(model.parameters),
            count(model.macs),
        )
        for what, model in [("student", result.student), *(("teacher", teacher) for teacher in result.teachers)]
        if model is not None
    ]
    print_rows(("", "ARCHITECTURE", "PARAMETERS", "MACS"), rows)
    if result.similar_job is not None and result.seconds is not None:
        messages.print(f"about {result.seconds:.0f} s, based on job {result.similar_job}", highlight=False)


def _deadline(text: str | None) -> str | float | None:
    """Seconds as a number, which the service does not accept as a string; any other text unchanged."""
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        return text
    # JSON has no infinity.
    return seconds if seconds is None or math.isfinite(seconds) else text
