"""Saves and loads student files: safetensors whose metadata contains everything needed to use them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ttm_core.data.encoded.decoding import center_square, converted
from ttm_core.errors import BadCheckpoint
from ttm_core.models import build, timm_name
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.students.metadata import read_structure
from ttm_core.models.weights import load_strictly, read_weights, write_safetensors
from ttm_core.spec.job import DistillSpec, Normalization
from ttm_core.spec.names import check_class_names
from ttm_core.spec.structure import STUDENT_FORMAT, ModelStructure

# Students are shared and published; the location of their data, teacher and service is not.
_PRIVATE_FIELDS: dict[str, Any] = {
    "name": True,
    "dataset": {"uri", "unlabelled"},
    "student": {"checkpoint"},
    "teacher": {"checkpoint"},
    "teachers": {"__all__": {"checkpoint"}},
}


@dataclass(frozen=True)
class Student:
    """A loaded student."""

    model: nn.Module
    structure: ModelStructure
    class_names: list[str]
    preprocess: Preprocess
    metadata: dict[str, Any]

    @property
    def architecture(self) -> str:
        return self.structure.architecture

    @property
    def description(self) -> dict[str, Any]:
        """The metadata of its ONNX files and programs: what is needed to run them.

        They have neither spec nor metrics. So all files of a structure have the same size, whatever the run, and an
        int8 file does not state the accuracy of the float32 student.
        """
        return _describe(self.structure, self.preprocess.normalization, self.class_names)

    @torch.inference_mode()
    def predict(self, images: Tensor | Image.Image) -> Tensor:
        """Probabilities [B, C] of uint8 images [B, C, H, W], or [1, C] of one Pillow image.

        A Pillow image of any size and mode is converted as in the evaluation: the student gets its center square.
        """
        if isinstance(images, Image.Image):
            image = converted(images, self.preprocess.channels)
            pixels = torch.from_numpy(np.array(center_square(image, self.preprocess.image_size)))
            images = pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None]
        logits: Tensor = self.model(self.preprocess(images))
        return logits.softmax(1)


def public_spec(spec: DistillSpec) -> dict[str, Any]:
    """The spec without URIs and name, as JSON."""
    return spec.model_dump(mode="json", exclude=_PRIVATE_FIELDS)


def save_student(
    path: Path,
    weights: dict[str, Tensor],
    *,
    structure: ModelStructure,
    spec: DistillSpec,
    normalization: Normalization,
    class_names: list[str],
    metrics: dict[str, Any],
) -> None:
    """Writes the student. Equal weights, spec and metrics give equal bytes. The file contains the spec without URIs and
    name.
    """
    described = _describe(structure, normalization, class_names)
    write_safetensors(path, weights, {**described, "spec": public_spec(spec), "metrics": metrics})


def _describe(structure: ModelStructure, normalization: Normalization, class_names: list[str]) -> dict[str, Any]:
    """The metadata that every file of a student has, and `read_description` reads."""
    return {
        "format": STUDENT_FORMAT,
        "structure": structure.model_dump(mode="json"),
        "timm_architecture": timm_name(structure.architecture),
        "class_names": class_names,
        "normalization": normalization.model_dump(mode="json"),
    }


def load_student(path: str | Path) -> Student:
    """Loads a student in evaluation mode. Raises BadCheckpoint if the file is not a student."""
    weights = read_weights(Path(path))
    structure, class_names, preprocess = read_description(weights.metadata, str(path))
    model = build(structure)
    load_strictly(model, weights, structure.architecture)
    return Student(model.eval(), structure, class_names, preprocess, weights.metadata)


def read_description(metadata: dict[str, Any], file: str) -> tuple[ModelStructure, list[str], Preprocess]:
    """The structure, class names and preprocessing in the metadata of a student's file.

    Raises:
        BadCheckpoint: a part is missing or invalid.
    """
    structure = read_structure(metadata)
    if structure is None or structure.image_size is None:
        raise BadCheckpoint(f"{file} is not a student file: its metadata describes no structure.")
    try:
        class_names = [str(name) for name in metadata["class_names"]]
        normalization = Normalization.model_validate(metadata["normalization"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{file} is not a student file: its metadata has no valid {error}") from error
    check_class_names(class_names, BadCheckpoint)
    if len(class_names) != structure.num_classes or len(normalization.mean) != structure.in_chans:
        raise BadCheckpoint(f"{file} has class names or a normalization that do not fit its structure.")
    return structure, class_names, Preprocess(structure.in_chans, structure.image_size, normalization)
