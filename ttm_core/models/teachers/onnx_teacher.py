"""ONNX files as teachers: models of any framework, run by ONNX Runtime."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.checkpoints.kinds import kind_of
from ttm_core.checkpoints.onnx_fields import unfit_fields
from ttm_core.checkpoints.schema import OnnxClassifier
from ttm_core.errors import BadCheckpoint, BadSpec
from ttm_core.models.preprocess import Preprocess
from ttm_core.reader.checkpoints.onnx_file import run_session
from ttm_core.reader.checkpoints.onnx_run import describe_onnx
from ttm_core.spec.job import Normalization, TeacherSpec

ARCHITECTURE = "onnx"
_LEAST_PROBABILITY = 1e-12


def is_onnx(path: Path) -> bool:
    """Whether the first bytes of a file are those of an ONNX model."""
    return path.is_file() and kind_of(path) == "onnx"


class OnnxTeacher(nn.Module):
    """A classifier in an ONNX file. Computes logits, or the logarithm of the probabilities that the file returns.

    Args:
        path: the file, which `describe_onnx` has checked.
        found: what it takes and returns.
        probabilities: whether the output holds probabilities.
    """

    digest: Tensor

    def __init__(self, path: Path, found: OnnxClassifier, *, probabilities: bool) -> None:
        super().__init__()
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        offered = onnxruntime.get_available_providers()
        cuda = torch.cuda.is_available() and "CUDAExecutionProvider" in offered
        providers = [*(["CUDAExecutionProvider"] if cuda else []), "CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        self._found, self._probabilities = found, probabilities
        # Teacher stores distinguish models by their tensors.
        identity = hashlib.sha256(content)
        identity.update(f"{onnxruntime.__version__} {providers[0]} {probabilities}".encode())
        self.register_buffer("digest", torch.frombuffer(bytearray(identity.digest()), dtype=torch.uint8).clone())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> float32 [B, classes]. Raises BadCheckpoint if the file fails on these images."""
        images = x.detach().float().cpu().numpy()
        step = self._found.batch or len(images)
        scores = np.concatenate(
            [self._run(images[start : start + step], step) for start in range(0, len(images), step)]
        )
        logits = torch.from_numpy(scores).to(x.device)
        if not self._probabilities:
            return logits
        return functional.log_softmax(logits.clamp_min(_LEAST_PROBABILITY).log(), dim=1)

    def _run(self, images: np.ndarray, step: int) -> np.ndarray:
        count = len(images)
        if count < step:  # a graph with a fixed batch size
            images = np.concatenate([images, np.zeros((step - count, *images.shape[1:]), np.float32)])
        scores = run_session(self._session, self._found, images)
        if scores.shape != (step, self._found.num_classes):
            raise BadCheckpoint(
                f"The output of the ONNX file has the shape {list(scores.shape)} for some images, not "
                f"{[step, self._found.num_classes]}."
            )
        return scores[:count].astype(np.float32, copy=False)


def load_onnx_teacher(spec: TeacherSpec, path: Path, image_size: int) -> tuple[OnnxTeacher, OnnxClassifier, Preprocess]:
    """Checks and loads an ONNX file.

    Args:
        spec: the teacher.
        path: the file.
        image_size: side of the dataset's images in pixels, for a graph that takes any size.

    Raises:
        BadCheckpoint: the file is unsafe, fails, or is no image classifier.
        BadSpec: a field of the spec does not fit, or is required.
    """
    found = describe_onnx(path, spec.image_size or image_size)
    for _, message in unfit_fields(spec, found):
        raise BadSpec(message)
    probabilities = found.probabilities if spec.output is None else spec.output == "probabilities"
    preprocess = Preprocess(
        found.channels, found.image_size or spec.image_size or image_size, _normalization(spec, found)
    )
    return OnnxTeacher(path, found, probabilities=probabilities), found, preprocess


def _normalization(spec: TeacherSpec, found: OnnxClassifier) -> Normalization:
    if spec.normalization is not None:
        return spec.normalization
    scale = 1 / 255 if found.pixels == "bytes" else 1.0
    return Normalization(mean=[0.0] * found.channels, std=[scale] * found.channels)
