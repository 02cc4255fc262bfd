"""The student's file: safetensors whose metadata says all that is needed to use it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ttm_core.errors import BadCheckpoint
from ttm_core.models import create_model, timm_name
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import load_strictly
from ttm_core.models.weights import read_weights, write_safetensors
from ttm_core.spec.job import DistillSpec, Normalization

FORMAT = 1


@dataclass(frozen=True)
class Student:
    """A classifier ready to use."""

    model: nn.Module
    architecture: str
    class_names: list[str]
    preprocess: Preprocess
    metadata: dict[str, Any]

    @torch.inference_mode()
    def predict(self, images: Tensor | Image.Image) -> Tensor:
        """Probabilities [B, C] of uint8 images [B, C, H, W], or [1, C] of one Pillow image."""
        if isinstance(images, Image.Image):
            array = np.array(images.convert("L" if self.preprocess.channels == 1 else "RGB"))
            pixels = torch.from_numpy(array)
            images = pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None]
        logits: Tensor = self.model(self.preprocess(images))
        return logits.softmax(1)


def save_student(
    path: Path,
    weights: dict[str, Tensor],
    *,
    spec: DistillSpec,
    preprocess: Preprocess,
    class_names: list[str],
    metrics: dict[str, Any],
) -> None:
    """Write the student. Equal weights, spec and metrics give equal bytes: no time or place enters the file."""
    metadata = {
        "format": FORMAT,
        "architecture": spec.student.architecture,
        "timm_architecture": timm_name(spec.student.architecture),
        "num_classes": len(class_names),
        "class_names": class_names,
        "in_chans": preprocess.channels,
        "image_size": preprocess.image_size,
        "normalization": preprocess.normalization.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "metrics": metrics,
    }
    write_safetensors(path, weights, metadata)


def load_student(path: str | Path) -> Student:
    """Load a student from its file alone, in evaluation mode. Raises BadCheckpoint if it is no student's file."""
    weights = read_weights(Path(path))
    told = weights.metadata
    try:
        architecture, class_names = told["architecture"], [str(name) for name in told["class_names"]]
        preprocess = Preprocess(
            int(told["in_chans"]), int(told["image_size"]), Normalization.model_validate(told["normalization"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not a student's file: its metadata lacks or damages {error}") from error
    model = create_model(
        architecture, num_classes=len(class_names), in_chans=preprocess.channels, image_size=preprocess.image_size
    )
    load_strictly(model, weights, architecture)
    return Student(model.eval(), architecture, class_names, preprocess, told)
