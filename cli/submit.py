"""`ttm submit`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, UrlOption, console, print_json, service
from cli.specs import put, put_assignments, read_spec, send_files
from cli.watch import follow


def submit(
    spec_file: Annotated[
        Path | None, typer.Argument(metavar="[SPEC.YAML]", help="The spec; flags override it.", show_default=False)
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Checkpoint: a file here, or an address.")] = None,
    student: Annotated[str | None, typer.Option(help="Architecture of the student.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Folder or archive here, or an address.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    method: Annotated[str | None, typer.Option(help="wttm, ttm, kd or ce.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field, such as method.beta=2.0.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Submit a distillation job.

    A local file is uploaded. A local folder becomes a file:// address, which a service on this machine can read if it
    was started with --data-root.
    """
    spec = read_spec(spec_file)
    put(spec, "teacher.checkpoint" if isinstance(spec.get("teacher"), dict) else "teacher", teacher)
    put(spec, "student.architecture" if isinstance(spec.get("student"), dict) else "student", student)
    put(spec, "dataset.uri" if isinstance(spec.get("dataset"), dict) else "dataset", dataset)
    for field, value in (
        ("name", name),
        ("method", method),
        ("training.epochs", epochs),
        ("training.batch_size", batch_size),
        ("training.seed", seed),
    ):
        put(spec, field, value)
    put_assignments(spec, set_ or ())
    for needed in ("student", "dataset"):
        if needed not in spec:
            raise typer.BadParameter(f"a job needs a {needed}: give --{needed}, or a spec file")
    with service(url) as client:
        send_files(spec, client, quiet=json)
        job = client.jobs.create(**spec)
        if json:
            print_json(job)
        else:
            console.print(job.id, highlight=False)
        if watch:
            follow(client, job.id, json=json)
