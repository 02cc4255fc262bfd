"""`ttm teachers` and `ttm datasets`: the registry."""

from itertools import islice
from typing import Annotated, Any

import typer

from ttm_client import RegisteredDataset, RegisteredTeacher
from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    console,
    local_time,
    print_json,
    print_rows,
    service,
)
from ttm_client.cli.specs import send_files
from ttm_client.synchronous.resources.inputs.registry import Datasets, Teachers

NameArgument = Annotated[str, typer.Argument(help="Name in the registry.", metavar="NAME")]
DescriptionOption = Annotated[str | None, typer.Option(help="Description.")]
VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="Version number.", min=1)]

teachers = typer.Typer(help="Register teachers under a name, for use as teacher:NAME.", no_args_is_help=True)
datasets = typer.Typer(help="Register datasets under a name, for use as dataset:NAME.", no_args_is_help=True)


@teachers.command("add")
def add_teacher(
    name: NameArgument,
    checkpoint: Annotated[str, typer.Argument(help="Local file or URI.", metavar="CHECKPOINT")],
    architecture: Annotated[str | None, typer.Option(help="Architecture, unless the file states it.")] = None,
    description: DescriptionOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Register a teacher, or a new version of one. Prints its reference."""
    spec: dict[str, Any] = {"teacher": {"checkpoint": checkpoint}}
    if architecture is not None:
        spec["teacher"]["architecture"] = architecture
    with service(url) as client:
        send_files(spec, client, quiet=json)
        _print_reference(client.teachers.create(name, spec["teacher"], description=description), json=json)


@datasets.command("add")
def add_dataset(
    name: NameArgument,
    address: Annotated[str, typer.Argument(help="Local folder or archive, or URI.", metavar="DATA")],
    description: DescriptionOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Register a dataset, or a new version of one. Prints its reference."""
    spec: dict[str, Any] = {"dataset": {"uri": address}}
    with service(url) as client:
        send_files(spec, client, quiet=json)
        _print_reference(client.datasets.create(name, spec["dataset"], description=description), json=json)


@teachers.command("list")
def list_teachers(limit: LimitOption = 50, json: JsonOption = False, url: UrlOption = None) -> None:
    """List the newest version of each teacher."""
    with service(url) as client:
        _list(client.teachers, limit, json=json)


@datasets.command("list")
def list_datasets(limit: LimitOption = 50, json: JsonOption = False, url: UrlOption = None) -> None:
    """List the newest version of each dataset."""
    with service(url) as client:
        _list(client.datasets, limit, json=json)


@teachers.command("show")
def show_teacher(name: NameArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show all versions of a teacher, newest first."""
    with service(url) as client:
        _show(client.teachers, name, json=json)


@datasets.command("show")
def show_dataset(name: NameArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show all versions of a dataset, newest first."""
    with service(url) as client:
        _show(client.datasets, name, json=json)


@teachers.command("remove")
def remove_teacher(
    name: NameArgument, version: VersionArgument, json: JsonOption = False, url: UrlOption = None
) -> None:
    """Delete a version of a teacher. Existing jobs keep the resolved checkpoint."""
    with service(url) as client:
        _remove(client.teachers, name, version, json=json)


@datasets.command("remove")
def remove_dataset(
    name: NameArgument, version: VersionArgument, json: JsonOption = False, url: UrlOption = None
) -> None:
    """Delete a version of a dataset. Existing jobs keep the resolved URI."""
    with service(url) as client:
        _remove(client.datasets, name, version, json=json)


def _list(resource: Teachers | Datasets, limit: int, *, json: bool) -> None:
    found = list(islice(resource.list(), limit))
    _print_entries(found, json=json)


def _show(resource: Teachers | Datasets, name: str, *, json: bool) -> None:
    _print_entries(list(resource.versions(name)), json=json)


def _remove(resource: Teachers | Datasets, name: str, version: int, *, json: bool) -> None:
    resource.delete(name, version)
    if json:
        print_json({"name": name, "version": version, "deleted": True})


def _print_reference(entry: RegisteredTeacher | RegisteredDataset, *, json: bool) -> None:
    if json:
        print_json(entry)
    else:
        console.print(entry.uri, highlight=False)


def _print_entries(found: list[Any], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    rows = [(entry.uri, _uri(entry), local_time(entry.created_at), entry.description or "") for entry in found]
    print_rows(("REFERENCE", "URI", "CREATED", "DESCRIPTION"), rows)


def _uri(entry: RegisteredTeacher | RegisteredDataset) -> str:
    return str(entry.teacher["checkpoint"] if isinstance(entry, RegisteredTeacher) else entry.dataset["uri"])
