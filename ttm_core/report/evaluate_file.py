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
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.training.devices import choose_device, usable_threads
from ttm_core.training.evaluate import evaluate


@dataclass(frozen=True)
class LabelledSplit:
    """A split with its name and the number of classes of its dataset."""

    name: str
    split: Split
    num_classes: int


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
        yield LabelledSplit(split, chosen, read.num_classes)


def evaluate_file(student_file: Path, labelled: LabelledSplit) -> dict[str, Any]:
    """Accuracy of a student file on a split: safetensors, or ONNX with the suffix .onnx. Raises EngineError."""
    if student_file.suffix == ".onnx":
        student, device = load_onnx(student_file), torch.device("cpu")
    else:
        student, device = load_student(student_file), choose_device()
    if labelled.num_classes != len(student.class_names):
        raise BadDataset(f"the student has {len(student.class_names)} classes, the dataset has {labelled.num_classes}")
    student.model.to(device)
    size = student.preprocess.image_size
    result = evaluate(student.model, labelled.split, student.preprocess, size=size, device=device)
    parameters = sum(parameter.numel() for parameter in student.model.parameters())
    return {
        "architecture": student.architecture,
        "parameters": parameters or None,  # unknown for ONNX, which stores them like other constants
        "split": labelled.name,
        **result.model_dump(),
    }
