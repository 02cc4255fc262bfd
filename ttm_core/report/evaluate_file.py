"""Evaluates a student file on a dataset, without a run."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttm_core.data.build import read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Split
from ttm_core.errors import BadDataset
from ttm_core.export import load_student
from ttm_core.export.onnx import load_onnx
from ttm_core.models.teachers.classes import SelectClasses
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.training.devices import choose_device, usable_threads
from ttm_core.training.evaluate import evaluate


@dataclass(frozen=True)
class LabelledSplit:
    """A split with its name and the classes of its dataset."""

    name: str
    split: Split
    class_names: list[str]


@contextmanager
def open_split(dataset: Path, split: str) -> Iterator[LabelledSplit]:
    """Opens a labelled split of a dataset. Raises EngineError."""
    with (
        tempfile.TemporaryDirectory() as folder,
        DataCache(Path(folder)) as cache,
        ThreadPoolExecutor(usable_threads()) as pool,
    ):
        spec = DatasetSpec(uri=dataset.resolve().as_uri())
        read = read_dataset(spec, dataset.resolve(), cache, pool)
        chosen = {"train": read.train, "validation": read.validation, "test": read.test}[split]
        if chosen is None:
            raise BadDataset(f"the dataset has no {split} split")
        if not chosen.labelled:
            raise BadDataset(f"the {split} split has no labels, so nothing can be evaluated on it")
        yield LabelledSplit(split, chosen, read.class_names)


def evaluate_file(student_file: Path, labelled: LabelledSplit) -> dict[str, Any]:
    """Accuracy of a student file on a split: safetensors, or ONNX with the suffix .onnx. Raises EngineError."""
    if student_file.suffix == ".onnx":
        student, device = load_onnx(student_file), torch.device("cpu")
    else:
        student, device = load_student(student_file), choose_device()
    class_map = _class_map(student.class_names, labelled.class_names)
    model = student.model if class_map is None else SelectClasses(student.model, class_map)
    model.to(device)
    size = student.preprocess.image_size
    result = evaluate(model, labelled.split, student.preprocess, size=size, device=device)
    parameters = sum(parameter.numel() for parameter in student.model.parameters())
    return {
        "architecture": student.architecture,
        "parameters": parameters or None,  # unknown for ONNX, which stores them like other constants
        "split": labelled.name,
        **result.model_dump(),
    }


def _class_map(student: list[str], dataset: list[str]) -> list[int] | None:
    """The index of each class of the dataset among the student's; None if they are equal, or if one side has numbers
    instead of names.

    Raises BadDataset if the dataset has a class that the student lacks.
    """
    if student == dataset:
        return None
    if len(student) != len(dataset):
        raise BadDataset(f"the student has {len(student)} classes, the dataset has {len(dataset)}")
    if set(dataset) == set(student):
        return [student.index(name) for name in dataset]
    numbers = [str(label) for label in range(len(dataset))]  # names in formats without class names
    if numbers in (student, dataset):
        return None
    unknown = next(name for name in dataset if name not in student)
    raise BadDataset(f"the dataset has a class {unknown!r}, which the student does not have")
