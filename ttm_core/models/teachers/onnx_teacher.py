"""ONNX files as teachers: models of any framework, run by ONNX Runtime."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.checkpoints.kinds import kind_of
from ttm_core.checkpoints.schema import NORMALIZATION_HINT, OnnxClassifier
from ttm_core.errors import BadCheckpoint, BadSpec
from ttm_core.models.preprocess import Preprocess
from ttm_core.reader.checkpoints.onnx_file import run_session
from ttm_core.reader.limits import ReaderLimits
from ttm_core.reader.process import read_untrusted
from ttm_core.spec.job import Normalization, TeacherSpec

ARCHITECTURE = "onnx"
_LEAST_PROBABILITY = 1e-12
# ONNX Runtime keeps the file, its parsed form and the weights, each about once, besides the activations.
_COPIES = 6


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
        # Teacher stores tell models apart by their tensors.
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
    for name in ("architecture", "key_map", "checkpoint_key"):
        if getattr(spec, name) is not None:
            raise BadSpec(f"teacher.{name} is not supported for ONNX files, which hold their own graph.")
    found = describe_onnx(path, spec.image_size or image_size)
    if spec.num_classes not in (None, found.num_classes):
        raise BadSpec(f"teacher.num_classes is {spec.num_classes}, but the ONNX file returns {found.num_classes}.")
    if spec.image_size is not None and found.image_size not in (None, spec.image_size):
        raise BadSpec(f"teacher.image_size is {spec.image_size}, but the ONNX file takes {found.image_size} pixels.")
    probabilities = found.probabilities if spec.output is None else spec.output == "probabilities"
    preprocess = Preprocess(
        found.channels, found.image_size or spec.image_size or image_size, _normalization(spec, found)
    )
    return OnnxTeacher(path, found, probabilities=probabilities), found, preprocess


def describe_onnx(path: Path, image_size: int) -> OnnxClassifier:
    """What a file takes and returns, from a run in a reader process. Raises BadCheckpoint."""
    size = path.stat().st_size
    limits = ReaderLimits.from_environment()
    answer = read_untrusted(
        "onnx",
        {"source": str(path.resolve()), "image_size": image_size},
        input_bytes=size,
        file_bytes=0,
        error=BadCheckpoint,
        subject="The ONNX file",
        reads=[path],
        limits=ReaderLimits(limits.memory_bytes + _COPIES * size, limits.seconds),
    )
    return OnnxClassifier.model_validate(answer)


def _normalization(spec: TeacherSpec, found: OnnxClassifier) -> Normalization:
    if spec.normalization is not None:
        if len(spec.normalization.mean) != found.channels:
            raise BadSpec(
                f"teacher.normalization has {len(spec.normalization.mean)} channels, but the ONNX file takes "
                f"{found.channels}."
            )
        return spec.normalization
    if found.pixels is None:
        raise BadSpec(
            "teacher.normalization is required: the ONNX file does not seem to normalize its input. "
            f"{NORMALIZATION_HINT}"
        )
    scale = 1.0 if found.pixels == "unit" else 1 / 255
    return Normalization(mean=[0.0] * found.channels, std=[scale] * found.channels)
