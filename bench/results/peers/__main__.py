"""Runs one contender: the spec of a job on standard input, results on standard output, both as JSON."""

import json
import resource
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.results.peers.contenders import CONTENDERS
from bench.results.peers.images import decode, evaluated
from ttm_core.data.build import held_in_memory, read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Dataset
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.models import build
from ttm_core.models.students.start import start_student
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.structure import ModelStructure

CPU = torch.device("cpu")


def main(contender: str, spec: DistillSpec) -> dict[str, Any]:
    """Trains the student. As in a job, the epoch with the best validation accuracy counts."""
    torch.set_num_threads(1)
    torch.manual_seed(spec.training.seed)
    with tempfile.TemporaryDirectory() as folder, DataCache(Path(folder)) as cache, ThreadPoolExecutor(1) as pool:
        dataset = read_dataset(spec.dataset, _path(spec.dataset.uri), cache, pool)
        size = dataset.image_size
        assert size is not None, "the images have one size"
        return _train(contender, spec, held_in_memory(dataset, size, whole_train_images=True), size)


def _train(contender: str, spec: DistillSpec, dataset: Dataset, size: int) -> dict[str, Any]:
    assert spec.teacher is not None
    assert dataset.validation is not None
    teacher = load_teacher(
        spec.teacher,
        _path(spec.teacher.checkpoint),
        image_size=size,
        class_names=dataset.class_names,
        keep_weights=True,
    )
    structure = ModelStructure(
        architecture=str(spec.student.architecture),
        num_classes=dataset.num_classes,
        in_chans=teacher.preprocess.channels,
        image_size=size,
    )
    student = start_student(structure, seed=spec.training.seed, device=CPU)
    adapt_to_device(student, teacher.preprocess, CPU, "float32", train=True)
    images = decode(dataset.train, teacher.preprocess)
    best, weights = -1.0, student.state_dict()
    validate = partial(evaluated, student, dataset.validation, teacher.preprocess)
    for _ in CONTENDERS[contender](student, _as_published(teacher), images, spec.training):
        if (accuracy := validate()) > best:
            best, weights = accuracy, deepcopy(student.state_dict())
    student.load_state_dict(weights)
    used = resource.getrusage(resource.RUSAGE_SELF)
    tested = dataset.test or dataset.validation
    assert tested is not None
    return {
        "validation": best,
        "test": evaluated(student, tested, teacher.preprocess),
        "teacher": None,
        "test_images": len(tested),
        "train_images": len(images.labels),
        "epochs": spec.training.epoch_count,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "teacher_forwards": len(images.labels) * spec.training.epoch_count,
    }


def _as_published(teacher: Teacher) -> nn.Module:
    """The teacher with its batch norms, as other libraries run it."""
    assert teacher.structure is not None
    assert teacher.weights is not None
    model = build(teacher.structure)
    model.load_state_dict(teacher.weights)
    return model.eval().requires_grad_(False)


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], DistillSpec.model_validate_json(sys.stdin.read()))))
