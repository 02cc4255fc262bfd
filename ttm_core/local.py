"""The engine without a server: specs with local paths where URIs would stand, and a student's file put to the test."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from ttm_core.data.build import read_dataset
from ttm_core.data.specs import DatasetSpec
from ttm_core.devices import choose_device, usable_threads
from ttm_core.errors import BadDataset
from ttm_core.evaluate import evaluate
from ttm_core.export import load_student
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


def evaluate_file(student_file: Path, dataset: Path, split: str) -> dict[str, Any]:
    """Accuracy of a student, loaded from its file alone, on a split of a dataset. Raises EngineError."""
    student = load_student(student_file)
    device = choose_device()
    student.model.to(device)
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(usable_threads()) as pool:
        spec = DatasetSpec(uri=dataset.resolve().as_uri())
        read = read_dataset(spec, dataset.resolve(), Path(cache), pool)
        chosen = {"train": read.train, "validation": read.validation, "test": read.test}[split]
        if chosen is None:
            raise BadDataset(f"the dataset has no {split} split")
        if read.num_classes != len(student.class_names):
            known = len(student.class_names)
            raise BadDataset(f"the student knows {known} classes, the dataset has {read.num_classes}")
        size = student.preprocess.image_size
        seen = evaluate(student.model, chosen, student.preprocess, size=size, device=device)
    return {
        "architecture": student.architecture,
        "parameters": sum(parameter.numel() for parameter in student.model.parameters()),
        "split": split,
        **seen.model_dump(),
    }
