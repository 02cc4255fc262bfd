"""Specs from files, for use without a server: local paths stand where URIs would."""

from pathlib import Path
from typing import Any

import yaml

from ttm_core.spec import DistillSpec


def read_spec(path: Path) -> DistillSpec:
    """Read a YAML or JSON spec; paths in it are relative to the file. Raises OSError, YAMLError or ValidationError."""
    told = yaml.safe_load(path.read_text())
    if isinstance(told, dict):
        told = with_file_uris(told, path.parent)
    return DistillSpec.model_validate(told)


def with_file_uris(told: dict[str, Any], base: Path) -> dict[str, Any]:
    """The same document with local paths of teacher, student checkpoint and dataset as file:// URIs."""
    told = dict(told)
    for part, field in (("teacher", "checkpoint"), ("dataset", "uri"), ("student", "checkpoint")):
        value = told.get(part)
        if isinstance(value, str) and part != "student":
            told[part] = _uri(value, base)
        elif isinstance(value, dict) and isinstance(value.get(field), str):
            told[part] = {**value, field: _uri(value[field], base)}
    return told


def _uri(value: str, base: Path) -> str:
    scheme, colon, _ = value.partition(":")
    return value if colon and len(scheme) > 1 else (base / Path(value).expanduser()).resolve().as_uri()
