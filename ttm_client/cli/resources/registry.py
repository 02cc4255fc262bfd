"""`ttm teachers` and `ttm datasets`: names that a spec may say."""

from itertools import islice
from typing import Annotated, Any

import typer

from ttm_client import RegisteredDataset, RegisteredTeacher
from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, console, moment, print_json, print_rows, service
from ttm_client.cli.specs import send_files
from ttm_client.synchronous.resources.datasets import Datasets
from ttm_client.synchronous.resources.teachers import Teachers

NameArgument = Annotated[str, typer.Argument(help="The name.", metavar="NAME")]
DescriptionOption = Annotated[str | None, typer.Option(help="What it is, for people.")]
VersionArgument = Annotated[int, typer.Argument(help="The number of the version.", min=1)]

teachers = typer.Typer(help="Name teachers: a job then says teacher:NAME.", no_args_is_help=True)
datasets = typer.Typer(help="Name datasets: a job then says dataset:NAME.", no_args_is_help=True)


@teachers.command("add")
def add_teacher(
    name: NameArgument,
    checkpoint: Annotated[str, typer.Argument(help="A file here, or an address.", metavar="CHECKPOINT")],
    architecture: Annotated[str | None, typer.Option(help="Where the file does not say it.")] = None,
    description: DescriptionOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Name a teacher, or add a version to a name. Prints how a spec says it."""
    spec: dict[str, Any] = {"teacher": {"checkpoint": checkpoint}}
    if architecture is not None:
        spec["teacher"]["architecture"] = architecture
    with service(url) as client:
        send_files(spec, client, quiet=json)
        _told(client.teachers.create(name, spec["teacher"], description=description), json=json)


@datasets.command("add")
def add_dataset(
    name: NameArgument,
    address: Annotated[str, typer.Argument(help="A folder or archive here, or an address.", metavar="DATA")],
    description: DescriptionOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Name a dataset, or add a version to a name. Prints how a spec says it."""
    spec: dict[str, Any] = {"dataset": {"uri": address}}
    with service(url) as client:
        send_files(spec, client, quiet=json)
        _told(client.datasets.create(name, spec["dataset"], description=description), json=json)


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
    """Remove a version of a teacher. Jobs that were made from it keep what it stood for."""
    with service(url) as client:
        _remove(client.teachers, name, version, json=json)


@datasets.command("remove")
def remove_dataset(
    name: NameArgument, version: VersionArgument, json: JsonOption = False, url: UrlOption = None
) -> None:
    """Remove a version of a dataset. Jobs that were made from it keep what it stood for."""
    with service(url) as client:
        _remove(client.datasets, name, version, json=json)


def _list(resource: Teachers | Datasets, limit: int, *, json: bool) -> None:
    found = list(islice(resource.list(), limit))
    _tell(found, json=json)


def _show(resource: Teachers | Datasets, name: str, *, json: bool) -> None:
    _tell(list(resource.versions(name)), json=json)


def _remove(resource: Teachers | Datasets, name: str, version: int, *, json: bool) -> None:
    resource.delete(name, version)
    if json:
        print_json({"name": name, "version": version, "removed": True})


def _told(named: RegisteredTeacher | RegisteredDataset, *, json: bool) -> None:
    if json:
        print_json(named)
    else:
        console.print(named.uri, highlight=False)


def _tell(found: list[Any], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    rows = [(named.uri, _address(named), moment(named.created_at), named.description or "") for named in found]
    print_rows(("ADDRESS", "STANDS FOR", "CREATED", "DESCRIPTION"), rows)


def _address(named: RegisteredTeacher | RegisteredDataset) -> str:
    return str(named.teacher["checkpoint"] if isinstance(named, RegisteredTeacher) else named.dataset["uri"])
