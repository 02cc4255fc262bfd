"""Files that must not run, or that exceed a limit, fail with MeasureError and leave the caller intact."""

import signal
import subprocess
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


def functions(path: Path, calls: dict[str, list[str]]) -> Path:
    """A graph that calls the function `f0`; each function calls the operators or functions that are named for it."""
    save(path, [helper.make_node("f0", ["image"], ["logits"], domain="local")])
    model = onnx.load(path)
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)]
    model.opset_import.append(imports[1])
    for name, called in calls.items():
        values = ["x", *(f"v{number}" for number in range(len(called) - 1)), "y"]
        nodes = [
            helper.make_node(each, [values[number]], [values[number + 1]], domain="local" if each in calls else "")
            for number, each in enumerate(called)
        ]
        model.functions.append(helper.make_function("local", name, ["x"], ["y"], nodes, imports))
    path.write_bytes(model.SerializeToString())
    return path


def doubling_functions(path: Path) -> Path:
    """30 functions that expand to 2^30 nodes."""
    calls = {f"f{level}": [f"f{level + 1}"] * 2 for level in range(29)}
    return functions(path, {**calls, "f29": ["Relu", "Relu"]})


def wide_functions(path: Path) -> Path:
    calls = {f"f{level}": [f"f{level + 1}"] * 60 for level in range(2)}
    return functions(path, {**calls, "f2": ["Relu"] * 60})


def function_that_calls_itself(path: Path) -> Path:
    return functions(path, {"f0": ["f1"], "f1": ["Relu", "f0"]})


def deep_functions(path: Path) -> Path:
    return functions(path, {**{f"f{level}": [f"f{level + 1}"] for level in range(5000)}, "f5000": ["Relu"]})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (doubling_functions, "expand to 1,073,741,824 nodes; at most 200,000"),
        (wide_functions, "expand to 216,000 nodes"),
        (function_that_calls_itself, "has the function 'f0', which calls itself"),
        (deep_functions, "over more than 50 levels"),
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


def test_functions_within_the_bounds_run(tmp_path):
    path = functions(tmp_path / "model.onnx", {"f0": ["f1", "f1"], "f1": ["Relu", "Flatten"]})
    assert measure(path, seconds=0.1)


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


def killed_by(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> list[int]:
    """Lets the first `times` measuring processes end by a signal. Returns their numbers, as they are started."""
    started: list[int] = []
    popen = subprocess.Popen

    def start(command, **options):
        started.append(len(started))
        if len(started) <= times:
            command = ["/bin/sh", "-c", f"read request; kill -{number} $$"]
        return popen(command, **options)

    monkeypatch.setattr("ttm_measure.process.subprocess.Popen", start)
    monkeypatch.setattr("ttm_measure.process._PAUSES", (0.0, 0.0))
    return started


def test_a_process_that_is_killed_from_outside_is_started_again(tmp_path, monkeypatch):
    started = killed_by(monkeypatch, signal.SIGKILL, 2)
    assert measure(conv_classifier(tmp_path / "model.onnx"), seconds=0.1).p50_ms > 0
    assert len(started) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_again_and_again_says_so(tmp_path, monkeypatch, number):
    started = killed_by(monkeypatch, number, 9)
    error = refusal(conv_classifier(tmp_path / "model.onnx"))
    assert (error.code, len(started)) == ("killed", 3)
    assert f"was killed 3 times ({number.name})" in error.message


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGXCPU])
def test_a_process_that_its_file_ends_is_not_started_again(tmp_path, monkeypatch, number):
    started = killed_by(monkeypatch, number, 9)
    assert refusal(conv_classifier(tmp_path / "model.onnx")).code == "failed"
    assert len(started) == 1
