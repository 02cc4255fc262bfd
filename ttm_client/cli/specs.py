"""From flags, files and local paths to the body of POST /jobs."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ttm_client import Client
from ttm_client.cli.output import transfer

Spec = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 for a number, as JSON and later YAML do."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

SpecFile = Annotated[
    Path | None, typer.Argument(metavar="[SPEC.YAML]", help="The spec; flags override it.", show_default=False)
]
RecipeOption = Annotated[str | None, typer.Option(help="A published run to start from; see `ttm recipes`.")]
TeacherOption = Annotated[
    list[str] | None,
    typer.Option(help="Checkpoint: a file here, or an address. Several: the mean of their distributions."),
]
StudentOption = Annotated[str | None, typer.Option(help="Architecture of the student.")]
DatasetOption = Annotated[str | None, typer.Option(help="Folder or archive here, or an address.")]
NameOption = Annotated[str | None, typer.Option(help="A name for people.")]
MethodOption = Annotated[str | None, typer.Option(help="wttm, ttm, kd, ce, dkd, dist, nkd or wkd.")]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the training images.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images a step.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of everything random.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any field, such as method.beta=2.0.")
]


def assemble(
    spec_file: Path | None,
    *,
    recipe: str | None,
    teacher: Sequence[str] | None,
    student: str | None,
    dataset: str | None,
    name: str | None,
    method: str | None,
    epochs: int | None,
    batch_size: int | None,
    seed: int | None,
    assignments: Sequence[str],
) -> Spec:
    """The spec of a file, if any, with what the flags say put over it."""
    spec = read_spec(spec_file)
    if teacher is not None and len(teacher) > 1:
        spec.pop("teacher", None)
        spec["teachers"] = list(teacher)
    elif teacher:
        put(spec, "teacher.checkpoint" if isinstance(spec.get("teacher"), dict) else "teacher", teacher[0])
    put(spec, "student.architecture" if isinstance(spec.get("student"), dict) else "student", student)
    put(spec, "dataset.uri" if isinstance(spec.get("dataset"), dict) else "dataset", dataset)
    for field, value in (
        ("recipe", recipe),
        ("name", name),
        ("method", method),
        ("training.epochs", epochs),
        ("training.batch_size", batch_size),
        ("training.seed", seed),
    ):
        put(spec, field, value)
    put_assignments(spec, assignments)
    for needed in ("student", "dataset"):
        if needed not in spec and (needed == "dataset" or "recipe" not in spec):
            raise typer.BadParameter(f"a run needs a {needed}: give --{needed}, or a spec file")
    return spec


def read_spec(path: Path | None) -> Spec:
    """A spec from a YAML or JSON file; an empty one without a file."""
    if path is None:
        return {}
    try:
        spec = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path}: {error}") from None
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"{path} does not hold a mapping of fields.")
    return spec


def put(spec: Spec, field: str, value: Any) -> None:
    """Set a field by its dotted name; None leaves it. A string in the way becomes the object it is short for."""
    if value is None:
        return
    *parents, last = field.split(".")
    at = spec
    for parent in parents:
        below = at.get(parent)
        if isinstance(below, str) and parent in _SHORT_FOR:
            below = {_SHORT_FOR[parent]: below}
        at[parent] = below if isinstance(below, dict) else {}
        at = at[parent]
    at[last] = value


def put_assignments(spec: Spec, assignments: Sequence[str]) -> None:
    """Set fields from `dotted.name=value`, the value in YAML."""
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"{assignment!r} is not NAME=VALUE.")
        try:
            put(spec, field, yaml.load(value, _Loader))
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{assignment!r}: {error}") from None


def send_files(spec: Spec, client: Client, *, quiet: bool) -> None:
    """Replace local paths by addresses: a file is uploaded, a folder becomes file:// for a service on this disk."""
    spec.update(_with_addresses(spec, lambda text: _sent(text, client, quiet=quiet)))


def with_local_addresses(spec: Spec) -> Spec:
    """The same spec with local paths as file:// addresses."""
    return _with_addresses(spec, lambda text: Path(text).expanduser().resolve().as_uri())


def _with_addresses(spec: Spec, address: Callable[[str], str]) -> Spec:
    """The same spec with `address` of every path in it; what is an address already stays."""

    def of(whole: Any, field: str) -> Any:
        if isinstance(whole, Mapping) and isinstance(whole.get(field), str):
            return {**whole, field: of(whole[field], field)}
        return address(whole) if isinstance(whole, str) and not _ADDRESS.match(whole) else whole

    replaced = dict(spec)
    for part, field in (("teacher", "checkpoint"), ("dataset", "uri")):
        if part in spec:
            replaced[part] = of(spec[part], field)
    if isinstance(spec.get("student"), Mapping):
        replaced["student"] = of(spec["student"], "checkpoint")
    if isinstance(spec.get("teachers"), list):
        replaced["teachers"] = [of(teacher, "checkpoint") for teacher in spec["teachers"]]
    return replaced


# A scheme of one letter would be a Windows drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_SHORT_FOR = {"teacher": "checkpoint", "student": "architecture", "dataset": "uri", "method": "kind"}


def _sent(text: str, client: Client, *, quiet: bool) -> str:
    path = Path(text).expanduser()
    if path.is_dir():
        return path.resolve().as_uri()
    if not path.is_file():
        raise typer.BadParameter(f"{text!r} is neither a file or folder here nor an address.")
    with transfer(f"uploading {path.name}", quiet=quiet) as progress:
        return client.uploads.create(path, progress).uri
