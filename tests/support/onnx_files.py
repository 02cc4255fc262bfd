"""Small ONNX files."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


def linear_classifier(*last: NodeProto, softmax: bool = False, shape: Sequence[int | None] = (None, 3, 8, 8)) -> bytes:
    """A linear classifier of 10 classes. `last` computes its output y from its logits z, which are 0."""
    tail = last or [helper.make_node("Softmax" if softmax else "Identity", ["z"], ["y"])]
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["z"]), *tail]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 10])],
        [numpy_helper.from_array(np.zeros((192, 10), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
