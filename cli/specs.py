"""From flags, files and local paths to the body of POST /jobs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from cli.output import transfer
from ttm_client import Client

Spec = dict[str, Any]


def read_spec(path: Path | None) -> Spec:
    """A spec from a YAML or JSON file; an empty one without a file."""
    if path is None:
        return {}
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
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
            put(spec, field, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{assignment!r}: {error}") from None


def send_files(spec: Spec, client: Client, *, quiet: bool) -> None:
    """Replace local paths by addresses: a file is uploaded, a folder becomes file:// for a service on this disk."""
    for part, field in (("teacher", "checkpoint"), ("student", "checkpoint"), ("dataset", "uri")):
        whole = spec.get(part)
        if isinstance(whole, Mapping) and isinstance(whole.get(field), str):
            spec[part] = {**whole, field: _address(whole[field], client, quiet=quiet)}
        elif isinstance(whole, str) and part != "student":
            spec[part] = _address(whole, client, quiet=quiet)


_SHORT_FOR = {"teacher": "checkpoint", "student": "architecture", "dataset": "uri", "method": "kind"}


def _address(text: str, client: Client, *, quiet: bool) -> str:
    if text.partition(":")[0] in ("upload", "job", "file"):
        return text
    path = Path(text).expanduser()
    if path.is_dir():
        return path.resolve().as_uri()
    if not path.is_file():
        raise typer.BadParameter(f"{text!r} is neither a file or folder here nor an address (upload:, job:, file:).")
    with transfer(f"uploading {path.name}", quiet=quiet) as progress:
        return client.uploads.create(path, progress).uri
