"""ONNX teachers that read other files, never end, need too much memory, or fail on some images only."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

Make = Callable[[Path], None]
NORMALIZATION = {"mean": [0.0] * 3, "std": [1.0] * 3}
_node = helper.make_node


def classifier(*last: NodeProto, **constants: Sequence[int] | int | bool) -> onnx.ModelProto:
    """A linear classifier of the mean color. `last` computes its output y from the logits z of two classes and from k,
    the brightness of the brightest pixel in thousandths, an integer of shape [1].
    """
    arrays = {"weight": np.eye(3, 2, dtype=np.float32), "thousand": np.float32([1000]), "one": np.int64([1])}
    arrays |= {name: np.asarray(values) for name, values in constants.items()}
    nodes = [
        _node("GlobalAveragePool", ["x"], ["mean"]),
        _node("Flatten", ["mean"], ["flat"]),
        _node("MatMul", ["flat", "weight"], ["z"]),
        _node("ReduceMax", ["x"], ["most"], keepdims=0),
        _node("Reshape", ["most", "one"], ["most1"]),
        _node("Mul", ["most1", "thousand"], ["scaled"]),
        _node("Cast", ["scaled"], ["k"], to=TensorProto.INT64),
        *last,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _file(
    *last: NodeProto, change: Callable[[onnx.ModelProto], object] = lambda model: None, **constants: Sequence[int] | int
) -> Make:
    def make(path: Path) -> None:
        model = classifier(*last, **constants)
        change(model)
        path.write_bytes(model.SerializeToString())

    return make


def _external(model: onnx.ModelProto) -> None:
    set_external_data(model.graph.initializer[0], location="/etc/passwd", offset=0, length=24)
    model.graph.initializer[0].ClearField("raw_data")


def _loop() -> NodeProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("v", "v2")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("c", "c2")]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(
        [_node("Identity", ["c"], ["c2"]), _node("Identity", ["v"], ["v2"])],
        "body",
        [count, flags[0], values[0]],
        [flags[1], values[1]],
    )
    return _node("Loop", ["", "true", "z"], ["y"], body=body)


_SUM = (_node("ReduceSum", ["zeros"], ["sum"], keepdims=0), _node("Add", ["z", "sum"], ["y"]))
_PLAIN = _node("Identity", ["z"], ["y"])

CASES: dict[str, Make] = {
    "external data": _file(_PLAIN, change=_external),
    "a custom operator": _file(_node("Exec", ["z"], ["y"], domain="com.evil")),
    "an endless loop": _file(_loop(), true=True),
    "40 GB of zeros": _file(_node("ConstantOfShape", ["shape"], ["zeros"]), *_SUM, shape=[10**10]),
    "a range of a trillion": _file(
        _node("Range", ["start", "stop", "step"], ["range"]),
        _node("Cast", ["range"], ["zeros"], to=TensorProto.FLOAT),
        *_SUM,
        start=0,
        stop=10**12,
        step=1,
    ),
    "an index outside, for images that are not black": _file(
        _node("Gather", ["table", "k"], ["found"]),
        _node("Cast", ["found"], ["sum"], to=TensorProto.FLOAT),
        _SUM[1],
        table=[0],
    ),
    "petabytes, for images that are not black": _file(
        _node("Mul", ["k", "many"], ["size"]), _node("ConstantOfShape", ["size"], ["zeros"]), *_SUM, many=[2**45]
    ),
    "more classes, for images that are not black": _file(
        _node("Add", ["k", "one"], ["more"]),
        _node("Concat", ["one", "more"], ["times"], axis=0),
        _node("Tile", ["z", "times"], ["y"]),
    ),
    "a weight of no type": _file(_PLAIN, change=lambda model: model.graph.initializer.add(name="q", data_type=99)),
    "a cycle": _file(_node("Cast", ["y"], ["y"], to=TensorProto.FLOAT)),
}
