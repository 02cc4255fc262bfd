"""Exports the student to ONNX. The graph takes pixels in [0, 1], normalizes them and returns logits."""

import ast
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from ttm_core.errors import BadCheckpoint
from ttm_core.export.exporter import fast_exporter
from ttm_core.export.student import Student, read_description
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.job import Normalization
from ttm_core.spec.structure import METADATA_KEY

INPUT, OUTPUT = "image", "logits"
TOLERANCE = 1e-4
_OPSET = 18
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
_INNER = "model"  # the attribute of FromPixels


class LogitsDiffer(Exception):
    """An exported file's logits differ from PyTorch's by more than the tolerance."""


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
    model = _graph(student.model, student.preprocess)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(student.description, sort_keys=True)})
    onnx.save(model, path)

    return largest_difference(student, OnnxModel(path), pixels)


def largest_difference(student: Student, exported: nn.Module, pixels: Tensor) -> float:
    """The largest difference between the logits of an exported file and PyTorch's, on the first and on all images.

    Args:
        student: the student, on the CPU.
        exported: runs the file: float32 [B, C, H, W] pixels in [0, 1] -> [B, classes].
        pixels: uint8 [B, C, H, W].

    Raises:
        LogitsDiffer: the difference exceeds 1e-4, relative to the largest logit where that is above 1.
    """
    scale = without_normalization(student.preprocess)
    difference = 0.0
    with torch.inference_mode():
        for batch in (pixels[:1], pixels):
            expected = student.model(student.preprocess(batch))
            found = float((exported(scale(batch)) - expected).abs().max())
            if not found <= TOLERANCE * max(1.0, float(expected.abs().max())):
                raise LogitsDiffer(f"on {len(batch)} images the file's logits differ from PyTorch's by {found:.2g}")
            difference = max(difference, found)
    return difference


def write_unchecked(model: nn.Module, preprocess: Preprocess, path: Path) -> None:
    """Writes a model on the CPU to be measured: its output is not compared, and the file has no metadata."""
    onnx.save(_graph(model, preprocess), path)


def load_onnx(path: str | Path) -> Student:
    """Loads a student from an exported ONNX file. Raises BadCheckpoint for any other file."""
    try:
        model = OnnxModel(Path(path))
        metadata = json.loads(model.metadata[METADATA_KEY])
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


class FromPixels(nn.Module):
    """A model that normalizes its input itself: float32 [B, C, H, W] pixels in [0, 1] -> logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(normalization.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalization.std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return self.model((image - self.mean) / self.std)


def _graph(model: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph of a model from pixels in [0, 1] to logits, with a dynamic batch size."""
    size = preprocess.image_size
    with fast_exporter():
        program = torch.onnx.export(
            FromPixels(model, preprocess.normalization).eval(),
            (torch.full((2, preprocess.channels, size, size), 0.5),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _name_by_layer(graph.graph)
    _remove_traces(graph)
    return graph


def _name_by_layer(graph: onnx.GraphProto) -> None:
    """Names nodes and their results LAYER/OPERATOR, so that profiles of the runtime show where the time goes.

    ONNX Runtime derives the names of fused nodes from those of their results.
    """
    counts: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        name = f"{_layer(node)}/{node.op_type}"
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"
        for index, result in enumerate(node.output):
            if result and result not in outputs:
                renamed[result] = node.name if index == 0 else f"{node.name}:{index}"
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _layer(node: onnx.NodeProto) -> str:
    """The module that a node comes from, such as `layer1.0.conv2`; `input` for the normalization of pixels."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES_KEY), "[]")
    # The last element is the operation; before it come the modules, outermost first.
    modules = [name for name in ast.literal_eval(scopes)[:-1] if name == _INNER or name.startswith(f"{_INNER}.")]
    if not modules:
        return "input"
    return modules[-1].removeprefix(f"{_INNER}.") if modules[-1] != _INNER else "model"


def _remove_traces(model: onnx.ModelProto) -> None:
    """Removes the exporter's Python stack traces, which contain paths of this machine."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
