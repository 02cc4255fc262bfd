"""Specs in YAML or JSON files. Does not import torch, so that an invalid spec is refused at once."""

import re
from pathlib import Path
from typing import Any

import yaml

from ttm_core.spec.job import DistillSpec


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as JSON and YAML 1.2 do; YAML 1.1 reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_spec(path: Path) -> DistillSpec:
    """Reads a YAML or JSON spec; paths in it are relative to the file. Raises OSError, YAMLError or ValidationError."""
    document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    if isinstance(document, dict):
        document = with_file_uris(document, path.parent)
    return DistillSpec.model_validate(document)


def with_file_uris(document: dict[str, Any], base: Path) -> dict[str, Any]:
    """A copy of a spec in which local paths of teachers, student checkpoint and data are file:// URIs."""
    document = dict(document)
    for part, field in (("teacher", "checkpoint"), ("dataset", "uri"), ("student", "checkpoint")):
        value = document.get(part)
        if isinstance(value, str) and part != "student":
            document[part] = _uri(value, base)
        elif isinstance(value, dict) and isinstance(value.get(field), str):
            document[part] = {**value, field: _uri(value[field], base)}
    dataset = document.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("unlabelled"), list):
        unlabelled = [_uri(each, base) if isinstance(each, str) else each for each in dataset["unlabelled"]]
        document["dataset"] = {**dataset, "unlabelled": unlabelled}
    if isinstance(document.get("teachers"), list):
        document["teachers"] = [
            with_file_uris({"teacher": teacher}, base)["teacher"] for teacher in document["teachers"]
        ]
    return document


def _uri(value: str, base: Path) -> str:
    scheme, colon, _ = value.partition(":")
    return value if colon and len(scheme) > 1 else (base / Path(value).expanduser()).resolve().as_uri()
