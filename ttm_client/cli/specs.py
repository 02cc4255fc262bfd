"""Builds the body of POST /jobs from flags, spec files and local paths."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ttm_client import Client
from ttm_client.cli.output import transfer
from ttm_client.local_files import Spec, folder_uri, replace_paths


class _Loader(yaml.SafeLoader):
    """A YAML 1.1 loader that also reads 1e-3 as a number, as JSON and YAML 1.2 do."""


# Dates stay text, as in JSON.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

SpecFile = Annotated[
    Path | None, typer.Argument(metavar="SPEC.YAML", help="Spec file; flags override its fields.", show_default=False)
]
RecipeOption = Annotated[str | None, typer.Option(help="Recipe to start from; see `ttm recipes`.")]
TeacherOption = Annotated[
    list[str] | None,
    typer.Option(help="Checkpoint: local file or URI. Repeat for an ensemble of teachers."),
]
StudentOption = Annotated[str | None, typer.Option(help="Architecture of the student, or URI of its initial weights.")]
DatasetOption = Annotated[str | None, typer.Option(help="Local folder or archive, or URI.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the job.")]
MethodOption = Annotated[str | None, typer.Option(help="wttm, ttm, kd, ce, dkd, dist, nkd or wkd.")]
EpochsOption = Annotated[int | None, typer.Option(help="Number of epochs.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images per step.")]
SeedOption = Annotated[int | None, typer.Option(help="Random seed.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any field of the spec, for example method.beta=2.0."),
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
    """The spec file's fields, overridden by the flags."""
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
            raise typer.BadParameter(f"A {needed} is required: pass --{needed} or a spec file.")
    return spec


def read_spec(path: Path | None) -> Spec:
    """Reads a spec from a YAML or JSON file. Returns an empty spec without a file."""
    if path is None:
        return {}
    try:
        spec = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path}: {error}") from None
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"{path} is not a mapping of fields.")
    return spec


def put(spec: Spec, field: str, value: Any) -> None:
    """Sets a field by its dotted name unless `value` is None. Expands a short form (a string) to its object."""
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


def whole(value: float) -> float:
    """The nearest whole number. NaN and infinity stay: the client names their field."""
    return round(value) if math.isfinite(value) else value


def put_assignments(spec: Spec, assignments: Sequence[str]) -> None:
    """Sets fields from `dotted.name=value`, where the value is YAML."""
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"{assignment!r} is not NAME=VALUE.")
        try:
            put(spec, field, yaml.load(value, _Loader))
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{assignment!r}: {error}") from None


def send_files(spec: Spec, client: Client, *, quiet: bool) -> None:
    """Replaces local paths by URIs: uploads files and turns folders into file:// URIs."""
    try:
        json.dumps(spec)
    except TypeError as error:  # such as !!binary; the client names fields that are NaN or infinite
        raise typer.BadParameter(f"The spec has a value that JSON does not have: {error}") from None
    spec.update(replace_paths(spec, lambda text: _upload(text, client, quiet=quiet)))


def with_file_uris(spec: Spec) -> Spec:
    """The spec with local paths as file:// URIs."""
    return replace_paths(spec, lambda text: Path(text).expanduser().resolve().as_uri())


_SHORT_FOR = {"teacher": "checkpoint", "student": "architecture", "dataset": "uri", "method": "kind"}


def _upload(text: str, client: Client, *, quiet: bool) -> str:
    try:
        uri = folder_uri(text)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from None
    if uri is not None:
        return uri
    path = Path(text).expanduser()
    with transfer(f"uploading {path.name}", quiet=quiet) as progress:
        return client.uploads.ensure(path, progress).uri
