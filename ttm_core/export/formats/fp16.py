"""Exports the student to ONNX with float16 weights and activations; pixels and logits stay float32."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
    DEFAULT_OP_BLOCK_LIST,
    convert_float_to_float16,
)
from onnxruntime.transformers.onnx_model import OnnxModel as OrtModel  # type: ignore[import-untyped]

from ttm_core.export.onnx import INPUT

# Operators whose sums, squares or exponentials leave float16's range or lose its precision: those that PyTorch's
# autocast computes in float32.
_FLOAT32_OPERATORS = (
    "Exp",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "Pow",
    "ReduceL1",
    "ReduceL2",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "Softplus",
)
# Half of the largest value, because other images may have larger activations.
_LARGEST = float(np.finfo(np.float16).max) / 2
_ENDS = {"graph_input_cast0": "input/Cast", "graph_output_cast0": "output/Cast"}


def write_fp16(float_onnx: Path, path: Path, images: Iterable[NDArray[np.float32]]) -> None:
    """Converts an exported float32 ONNX file by ONNX Runtime's converter.

    Operators with large values on `images` stay in float32. A runtime computes in float16 where it has such kernels,
    and elsewhere in float32 after a conversion.

    Args:
        float_onnx: the exported float32 file.
        path: the file to write.
        images: float32 [B, C, H, W] pixels in [0, 1]; the activations of a batch are in memory at once.
    """
    model = OrtModel(
        convert_float_to_float16(
            onnx.load(float_onnx),
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_FLOAT32_OPERATORS],
            node_block_list=_overflowing(onnx.load(float_onnx), images),
        )
    )
    # Between two operators in float32 the converter leaves casts to float16 and back.
    model.enable_shape_infer = False  # the types are known
    model.remove_cascaded_cast_nodes()
    model.remove_useless_cast_nodes()
    for node in model.nodes():
        node.name = _ENDS.get(node.name, node.name)
    # The converter appends casts at the end; other runtimes require the nodes in order.
    model.topological_sort(is_deterministic=True)
    onnx.checker.check_model(model.model)
    onnx.save(model.model, path)


def _overflowing(model: onnx.ModelProto, images: Iterable[NDArray[np.float32]]) -> list[str]:
    """The names of nodes that read or write values of more than half of float16's largest."""
    nodes = list(model.graph.node)
    known = {output.name for output in model.graph.output}
    inner = [name for node in nodes for name in node.output if name and name not in known]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    large = {tensor.name for tensor in model.graph.initializer if _exceeds(onnx.numpy_helper.to_array(tensor))}
    for image in images:
        large |= {name for name, value in zip(names, session.run(None, {INPUT: image}), strict=True) if _exceeds(value)}
    return [node.name for node in nodes if large & {*node.input, *node.output}]


def _exceeds(value: NDArray[np.generic]) -> bool:
    return value.dtype == np.float32 and value.size > 0 and float(np.abs(value).max()) > _LARGEST
