"""From the spec as submitted to the spec as run: every open field decided, once, by the first attempt."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ttm_core.data.dataset import Dataset
from ttm_core.data.images import ArrayImages
from ttm_core.models.teachers.load import Teacher
from ttm_core.models.weights import write_durably
from ttm_core.spec import catalogue
from ttm_core.spec.dataset import AugmentationSpec, CropFlip, ResizedCrop
from ttm_core.spec.job import DistillSpec, Normalization, TeacherSpec
from ttm_core.teacher_store.store import Stores
from ttm_core.training.devices import usable_threads

_SMALL_IMAGE = 64


def keep_threads(spec: DistillSpec, workdir: Path) -> DistillSpec:
    """Decide the number of threads, or find what an earlier attempt in this work directory decided."""
    if spec.training.threads is not None:
        return spec

    def decide() -> int:
        return max(usable_threads() // spec.training.devices, 1)

    return _with(spec, training={"threads": _kept(workdir, "threads", decide)})


def teacher_logits(
    spec: DistillSpec, workdir: Path, stores: Stores | None, *, images: int, num_classes: int
) -> DistillSpec:
    """Decide whether the teacher's logits are stored, and of how many views.

    They are where a store is shared with other runs and they fit in it. The number of threads is not chosen by timing:
    it belongs to a store's key, and one that changed with the machine's load would split the store.
    """
    training = spec.training
    if training.teacher_logits is not None and training.views != "fit":
        return spec

    def decide() -> dict[str, object]:
        view_bytes = (2 if training.stored_as == "float16" else 1) * images * num_classes * len(spec.all_teachers)
        room = _room(stores, workdir) // view_bytes if view_bytes else 0
        views = training.views
        if views == "fit":
            views = max(min(room, training.epochs), 1)
        logits = training.teacher_logits
        if logits is None:
            shared = stores is not None and spec.method.requirements.stored_logits_suffice
            logits = "stored" if shared and (views or training.epochs) <= room else "online"
        if logits == "online":
            views = None if training.views == "fit" else training.views
        return {"teacher_logits": logits, "views": views}

    return _with(spec, training=_kept(workdir, "stored_views", decide))


def _room(stores: Stores | None, workdir: Path) -> int:
    """Bytes that a run may fill with logits."""
    root = workdir if stores is None else stores.root
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free // 2
    return free if stores is None else min(stores.max_bytes, free)


def _kept(workdir: Path, name: str, decide: Callable[[], Any]) -> Any:
    """What the first attempt in this work directory decided."""
    path = workdir / "decisions" / f"{name}.json"
    if not path.exists():
        write_durably(path, json.dumps(decide()).encode())
    return json.loads(path.read_text())


def image_size(spec: DistillSpec, dataset: Dataset) -> int:
    """Pixels a side of the student's views: as asked, else the dataset's own where small, else the architecture's."""
    if spec.student.image_size is not None:
        return spec.student.image_size
    if dataset.image_size is not None and 8 <= dataset.image_size <= _SMALL_IMAGE:
        return dataset.image_size
    return catalogue.find(spec.student.architecture).input_size[1]


def augmentation(spec: DistillSpec, size: int) -> AugmentationSpec:
    """crop_flip with an eighth of padding for small images, resized_crop for photographs."""
    if spec.training.augmentation is not None:
        return spec.training.augmentation
    return CropFlip(padding=size // 8) if size <= _SMALL_IMAGE else ResizedCrop()


def normalization(spec: DistillSpec, dataset: Dataset, teacher: Normalization | None) -> Normalization:
    """As asked, else the teacher's, else the training images' own where they are in memory, else the architecture's."""
    if spec.student.normalization is not None:
        return spec.student.normalization
    if teacher is not None and len(teacher.mean) == dataset.channels:
        return teacher
    if isinstance(dataset.train.images, ArrayImages):
        return _measured(dataset.train.images.pixels[torch.from_numpy(dataset.train.indices)])
    cfg = catalogue.find(spec.student.architecture)
    mean, std = list(cfg.mean), list(cfg.std)
    if dataset.channels == 1:
        return Normalization(mean=[sum(mean) / len(mean)], std=[sum(std) / len(std)])
    return Normalization(mean=mean, std=std)


def complete(
    spec: DistillSpec, *, size: int, augmentation: AugmentationSpec, student_normalization: Normalization
) -> DistillSpec:
    """The spec with the student's input and its augmentation decided."""
    spec = _with(spec, student={"image_size": size, "normalization": student_normalization})
    return _with(spec, training={"augmentation": augmentation})


def with_teachers(spec: DistillSpec, teachers: Sequence[Teacher]) -> DistillSpec:
    """The spec with all that the teachers' files told."""
    told = [_with_teacher(each, teacher) for each, teacher in zip(spec.all_teachers, teachers, strict=True)]
    if spec.teachers is not None:
        return spec.model_copy(update={"teachers": told})
    return spec.model_copy(update={"teacher": told[0] if told else None})


def _with_teacher(spec: TeacherSpec, teacher: Teacher) -> TeacherSpec:
    return spec.model_copy(
        update={
            "architecture": teacher.architecture,
            "num_classes": teacher.num_classes,
            "normalization": teacher.preprocess.normalization,
            "class_map": teacher.class_map,
        }
    )


def run_hash(spec: DistillSpec) -> str:
    """Names what decides a run's bits; a checkpoint carries it, so that no other run resumes from it."""
    no_bits: Any = {"name": True, "recipe": True, "exports": True, "training": {"checkpoint_seconds"}}
    told = spec.model_dump(mode="json", exclude=no_bits)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _with(spec: DistillSpec, **parts: dict[str, object]) -> DistillSpec:
    updated = {name: getattr(spec, name).model_copy(update=fields) for name, fields in parts.items()}
    return spec.model_copy(update=updated)


def _measured(pixels: torch.Tensor) -> Normalization:
    """Mean and standard deviation of each channel of uint8 [N, C, H, W], from exact integer histograms."""
    mean, std = [], []
    levels = np.arange(256, dtype=np.float64) / 255
    for channel in range(pixels.shape[1]):
        counts = np.bincount(pixels[:, channel].reshape(-1).numpy(), minlength=256)
        center = float(levels @ counts / counts.sum())
        spread = float(((levels - center) ** 2) @ counts / counts.sum()) ** 0.5
        mean.append(round(center, 4))
        std.append(max(round(spread, 4), 1e-3))
    return Normalization(mean=mean, std=std)
