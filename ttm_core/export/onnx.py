"""Exports the student to ONNX. The graph takes pixels in [0, 1], normalizes them and returns logits."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from ttm_core.errors import BadCheckpoint
from ttm_core.export.student import Student, read_description
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.job import Normalization

INPUT, OUTPUT = "image", "logits"
TOLERANCE = 1e-4
_METADATA_KEY = "ttm"
_OPSET = 18


class LogitsDiffer(Exception):
    """ONNX Runtime's logits differ from PyTorch's by more than the tolerance."""


class OnnxModel(nn.Module):
    """An ONNX file that runs in ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def forward(self, image: Tensor) -> Tensor:
        """float32 [B, C, H, W] pixels in [0, 1] -> [B, classes]."""
        (logits,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(image.numpy())})
        return torch.from_numpy(logits)


def write_onnx(student: Student, path: Path, pixels: Tensor) -> float:
    """Writes a student on the CPU and compares the file with PyTorch on the first and on all of `pixels`.

    Equal students give equal bytes with the same releases of torch, onnx and onnxscript.

    Args:
        student: the student.
        path: the file to write.
        pixels: uint8 [B, C, H, W].

    Returns:
        The largest difference between ONNX Runtime's and PyTorch's logits.

    Raises:
        LogitsDiffer: the difference exceeds 1e-4, relative to the largest logit where that is above 1.
    """
    scale = without_normalization(student.preprocess)
    program = torch.onnx.export(
        _FromPixels(student.model, student.preprocess.normalization).eval(),
        (scale(pixels[:2]),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=_OPSET,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _remove_traces(model)
    onnx.helper.set_model_props(model, {_METADATA_KEY: json.dumps(student.metadata, sort_keys=True)})
    onnx.save(model, path)

    exported = OnnxModel(path)
    difference = 0.0
    with torch.inference_mode():
        for batch in (pixels[:1], pixels):
            expected = student.model(student.preprocess(batch))
            found = float((exported(scale(batch)) - expected).abs().max())
            if not found <= TOLERANCE * max(1.0, float(expected.abs().max())):
                raise LogitsDiffer(f"on {len(batch)} images ONNX Runtime's logits differ from PyTorch's by {found:.2g}")
            difference = max(difference, found)
    return difference


def load_onnx(path: str | Path) -> Student:
    """Loads a student from an exported ONNX file. Raises BadCheckpoint for any other file."""
    try:
        model = OnnxModel(Path(path))
        metadata = json.loads(model.metadata[_METADATA_KEY])
        structure, class_names, preprocess = read_description(metadata, str(path))
    except BadCheckpoint:
        raise
    except Exception as error:  # ONNX Runtime's errors have no other common base
        raise BadCheckpoint(f"{path} is not an exported student's ONNX file: {error}") from error
    return Student(model, structure, class_names, without_normalization(preprocess), metadata)


def without_normalization(preprocess: Preprocess) -> Preprocess:
    """The same channels and size with outputs in [0, 1] instead of normalized."""
    channels = preprocess.channels
    return Preprocess(channels, preprocess.image_size, Normalization(mean=[0.0] * channels, std=[1.0] * channels))


class _FromPixels(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(normalization.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalization.std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return self.model((image - self.mean) / self.std)


def _remove_traces(model: onnx.ModelProto) -> None:
    """Removes the exporter's Python stack traces, which contain paths of this machine."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
