"""Saves and loads student files: safetensors whose metadata contains everything needed to use them."""

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
from ttm_core.models.weights import load_strictly, read_weights, write_safetensors
from ttm_core.spec.job import DistillSpec, Normalization

FORMAT = 1


@dataclass(frozen=True)
class Student:
    """A loaded student."""

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
    """Writes the student. Equal weights, spec and metrics give equal bytes."""
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
    """Loads a student in evaluation mode. Raises BadCheckpoint if the file is not a student."""
    weights = read_weights(Path(path))
    metadata = weights.metadata
    try:
        architecture, class_names = metadata["architecture"], [str(name) for name in metadata["class_names"]]
        preprocess = Preprocess(
            int(metadata["in_chans"]),
            int(metadata["image_size"]),
            Normalization.model_validate(metadata["normalization"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not a student file: its metadata has no valid {error}") from error
    model = create_model(
        architecture, num_classes=len(class_names), in_chans=preprocess.channels, image_size=preprocess.image_size
    )
    load_strictly(model, weights, architecture)
    return Student(model.eval(), architecture, class_names, preprocess, metadata)
