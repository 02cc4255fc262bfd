"""Files that must not run, or that exceed a limit, fail with MeasureError and leave the caller intact."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from tests.ttm_measure.factories import OPSET, conv_classifier, save
from ttm_measure import Limits, MeasureError, measure


def refusal(path: Path, **options) -> MeasureError:
    with pytest.raises(MeasureError) as caught:
        measure(path, seconds=0.1, **options)
    return caught.value


def external_initializer(path: Path) -> Path:
    conv_classifier(path)
    model = onnx.load(path)
    set_external_data(model.graph.initializer[0], location="/etc/passwd", offset=0, length=864)
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def external_constant_in_a_branch(path: Path) -> Path:
    tensor = numpy_helper.from_array(np.zeros((1, 4), np.float32), "t")
    set_external_data(tensor, location="secret", offset=0, length=16)
    tensor.ClearField("raw_data")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
    )
    condition = numpy_helper.from_array(np.array(True), "condition")
    node = helper.make_node("If", ["condition"], ["logits"], then_branch=branch, else_branch=branch)
    return save(path, [node], [condition])


def custom_operator(path: Path) -> Path:
    return save(path, [helper.make_node("Exec", ["image"], ["logits"], domain="com.evil")])


def garbage(path: Path) -> Path:
    path.write_bytes(b"\x00garbage" * 100)
    return path


def two_inputs(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["logits"])],
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "ab"],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10), path)
    return path


def unknown_size(path: Path) -> Path:
    return save(path, [helper.make_node("Relu", ["image"], ["logits"])], shape=("batch", 3, "height", "width"))


def huge_image(path: Path) -> Path:
    return save(path, [helper.make_node("Relu", ["image"], ["logits"])], shape=("batch", 3, 2**15, 2**15))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (external_initializer, "external data is refused"),
        (external_constant_in_a_branch, "external data is refused"),
        (custom_operator, "domain 'com.evil'"),
        (garbage, "not an ONNX file"),
        (two_inputs, "exactly one input"),
        (unknown_size, "known C, H, W"),
        (huge_image, "has more than"),
    ],
)
def test_refused(tmp_path, build, message):
    error = refusal(build(tmp_path / "model.onnx"))
    assert error.code == "refused"
    assert message in error.message


def test_a_missing_file_and_a_file_over_the_limit_are_refused(tmp_path):
    assert refusal(tmp_path / "missing.onnx").code == "refused"
    error = refusal(conv_classifier(tmp_path / "model.onnx"), limits=Limits(file_bytes=100))
    assert "larger than the limit of 100 bytes" in error.message


def test_a_fixed_batch_is_the_only_one_that_is_measured(tmp_path):
    path = conv_classifier(tmp_path / "model.onnx", batch=2)
    assert measure(path, batch=2, seconds=0.1).batch == 2
    assert "batches of 2, not of 1" in refusal(path, batch=1).message


def test_an_endless_loop_ends_at_the_time_limit(tmp_path):
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Relu", ["x"], ["x_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    trips = numpy_helper.from_array(np.array(2**60, np.int64), "trips")
    condition = numpy_helper.from_array(np.array(True), "condition")
    loop = helper.make_node("Loop", ["trips", "condition", "image"], ["logits"], body=body)
    path = save(tmp_path / "model.onnx", [loop], [trips, condition])
    assert refusal(path, limits=Limits(seconds=3)).code == "time"


def test_a_graph_that_allocates_too_much_exceeds_the_memory_limit(tmp_path):
    # 256 bytes of file that expand to 64 GiB.
    shape = numpy_helper.from_array(np.array([2**14, 2**20], np.int64), "shape")
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"]),
        helper.make_node("Add", ["image", "sum"], ["logits"]),
    ]
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    path = save(tmp_path / "model.onnx", nodes, [shape, one])
    assert refusal(path, limits=Limits(memory_bytes=2**30)).code in ("memory", "failed")
