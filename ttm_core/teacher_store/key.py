"""The key of a teacher store: everything that determines the teacher's logits."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ttm_core.data.dataset import Split
from ttm_core.data.views import Views
from ttm_core.models.teachers.load import Teacher
from ttm_core.models.weights import hash_tensors
from ttm_core.precision import Precision
from ttm_core.teacher_store.codecs import Encoding
from ttm_measure.machine import cpu_model

FORMAT = 6
"""Raised when stored bits mean something else: a store's layout, the pixels of a view or a teacher's arithmetic."""


@dataclass(frozen=True)
class StoreKey:
    """Everything that determines the bits of stored logits. Runs with equal keys share a store.

    This includes the device and, on a CPU, its instructions and the number of threads, which change rounding: a run
    must read the same logits whether it computed them itself or not.
    """

    teacher: str
    images: str
    augmentation: dict[str, Any]
    size: int
    seed: int
    arithmetic: dict[str, Any]
    encoding: str
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def store_key(
    teacher: Teacher, views: Views, *, precision: Precision, device: torch.device, block: int, encoding: Encoding
) -> StoreKey:
    """The key of a run's training views."""
    return StoreKey(
        teacher=_teacher_hash(teacher),
        images=_images_hash(views.split),
        augmentation=views.augmentation.model_dump(mode="json"),
        size=views.size,
        seed=views.seed,
        arithmetic=_arithmetic(teacher, precision, device, block),
        encoding=encoding,
    )


def evaluation_key(
    teacher: Teacher, split: Split, *, precision: Precision, device: torch.device, block: int
) -> StoreKey:
    """The key of the logits of a split's full images at the teacher's own size."""
    return StoreKey(
        teacher=_teacher_hash(teacher),
        images=_images_hash(split),
        augmentation={"kind": "none"},
        size=teacher.preprocess.image_size,
        seed=0,
        arithmetic=_arithmetic(teacher, precision, device, block),
        encoding="float32",
    )


def _arithmetic(teacher: Teacher, precision: Precision, device: torch.device, block: int) -> dict[str, Any]:
    return {
        "precision": precision,
        "memory_format": teacher.preprocess.memory_format,
        "compiled": teacher.compiled,
        "torch": torch.__version__,
        "block": block,
        **_device_arithmetic(device),
    }


def _device_arithmetic(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {
            "device": torch.cuda.get_device_name(device),
            "tf32": torch.backends.cudnn.allow_tf32,
            "deterministic": torch.backends.cudnn.deterministic,
        }
    # The names of virtual processors are often those of several generations.
    capabilities = torch.cpu.get_capabilities()
    return {
        "device": device.type,
        "processor": cpu_model(),
        "instructions": [
            torch.backends.cpu.get_cpu_capability(),
            *sorted(name for name, value in capabilities.items() if value is True),
        ],
        "threads": torch.get_num_threads(),
    }


def _teacher_hash(teacher: Teacher) -> str:
    described = repr((teacher.architecture, teacher.class_map, teacher.preprocess))
    return hashlib.sha256((described + _weights_hash(teacher.model)).encode()).hexdigest()


# A run has several keys of the same frozen teacher.
_weights_hashes: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def _weights_hash(model: nn.Module) -> str:
    """A hash of a frozen model's tensors, computed once for each model."""
    if (known := _weights_hashes.get(model)) is not None:
        return known
    _weights_hashes[model] = hash_tensors(model.state_dict())
    return _weights_hashes[model]


def _images_hash(split: Split) -> str:
    digest = hashlib.sha256(split.images.fingerprint().encode())
    digest.update(split.indices.tobytes())
    if split.labelled and len(split.without_label):
        digest.update(split.without_label.indices.tobytes())  # mixed views depend on it
    return digest.hexdigest()
