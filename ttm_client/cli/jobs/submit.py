"""`ttm submit`."""

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
)


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
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="Of waiting jobs the highest goes first.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only workers that serve it take the job.")] = None,
    device_memory: Annotated[
        float | None, typer.Option(min=0.1, max=2**20, help="GiB that the worker's device needs to have.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=100, help="Attempts before an infrastructure error fails the job.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Seconds from now, or a time with its zone: 2030-01-31T18:00+01:00.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find the job by; may be repeated.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the spec and tell sizes and cost; submit nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Submit a distillation job.

    A local file is uploaded. A local folder becomes a file:// address, which a service on this machine can read if it
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
    handling = {
        "priority": priority,
        "queue": queue,
        "device_memory_bytes": None if device_memory is None else round(device_memory * 2**30),
        "max_attempts": max_attempts,
        "deadline": _deadline(deadline),
        "tags": tag or None,
    }
    spec |= {name: value for name, value in handling.items() if value is not None}
    with service(url) as client:
        send_files(spec, client, quiet=json)
        if dry_run:
            _tell(client.jobs.validate(**spec), json=json)
            return
        job = client.jobs.create(**spec)
        if json:
            print_json(job)
        else:
            console.print(job.id, highlight=False)
        if watch:
            follow(client, job.id, json=json)


def _tell(would: Dryrun, *, json: bool) -> None:
    if json:
        print_json(would)
        return
    rows = [
        (
            what,
            model.architecture,
            count(model.parameters),
            count(model.macs),
        )
        for what, model in [("student", would.student), *(("teacher", teacher) for teacher in would.teachers)]
    ]
    print_rows(("", "ARCHITECTURE", "PARAMETERS", "MACS"), rows)
    if would.like is not None and would.seconds is not None:
        messages.print(f"about {would.seconds:.0f} s, as job {would.like} took", highlight=False)


def _deadline(text: str | None) -> str | float | None:
    """A number is a number for the service, too, which takes no text for one."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
