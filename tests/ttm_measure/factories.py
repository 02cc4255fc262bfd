"""Small ONNX files, valid and hostile, built without PyTorch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 18


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto] = (),
    *,
    shape: Sequence[int | str] = ("batch", 3, 8, 8),
) -> Path:
    """A model with the input `image` of this shape and the output `logits`."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(n.domain, 1) for n in nodes if n.domain)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def conv_classifier(path: Path, *, channels: int = 8, batch: int | str = "batch") -> Path:
    """Convolution, mean over the image, linear layer; nodes are named like a student's."""
    weights = np.random.default_rng(0).standard_normal((channels, 3, 3, 3), np.float32)
    linear = np.random.default_rng(1).standard_normal((channels, 4), np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv/Conv"], name="conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["conv/Conv", "axes"], ["pool/ReduceMean"], name="pool/ReduceMean", keepdims=0),
        helper.make_node("MatMul", ["pool/ReduceMean", "v"], ["logits"], name="fc/MatMul"),
    ]
    initializers = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(linear, "v"),
        numpy_helper.from_array(np.array([2, 3]), "axes"),
    ]
    return save(path, nodes, initializers, shape=(batch, 3, 8, 8))
