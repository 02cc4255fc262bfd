"""The choice of an int8 file: by agreement on validation images, with sensitive layers in float32."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from tests.support.int8_units import HAS_INT8_UNITS
from tests.support.models import create_model
from tests.ttm_measure.factories import conv_classifier, save
from ttm_core.export.onnx import write_unchecked
from ttm_core.models.preprocess import Preprocess
from ttm_core.quantization.post_training import CALIBRATIONS, Candidate, quantize
from ttm_core.spec.normalization import Normalization
from ttm_measure import profile


def batches(seed: int, count: int = 4) -> list[np.ndarray]:
    """Noise of a random color, on which the classes depend."""
    random = np.random.default_rng(seed)
    return [random.random((32, 3, 1, 1), np.float32) * random.random((32, 3, 8, 8), np.float32) for _ in range(count)]


def outlier_classifier(path: Path) -> Path:
    """A classifier whose convolution has large weights for a color that no image has: int8 loses the other weights."""
    random = np.random.default_rng(0)
    first = random.standard_normal((8, 3, 3, 3), np.float32)
    first[:, 0] = 300.0
    linear = random.standard_normal((8, 4), np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv/Conv"], name="conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["conv/Conv", "axes"], ["pool/ReduceMean"], name="pool/ReduceMean", keepdims=0),
        helper.make_node("MatMul", ["pool/ReduceMean", "v"], ["logits"], name="fc/MatMul"),
    ]
    tensors = {"w": first, "v": linear, "axes": np.array([2, 3])}
    return save(path, nodes, [numpy_helper.from_array(value, name) for name, value in tensors.items()])


def test_best_of_all_calibrations_is_written(tmp_path):
    source, path = conv_classifier(tmp_path / "float.onnx", channels=32), tmp_path / "int8.onnx"
    seen: list[Candidate] = []
    found = quantize(source, path, batches(0), batches(1), on_candidate=seen.append)
    assert seen == found.tried
    assert {each.calibration for each in found.tried} == set(CALIBRATIONS)
    assert found.chosen.agreement == max(each.agreement for each in found.tried) > 0.9
    graph = onnx.load(path).graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    weights = [tensor for tensor in graph.initializer if tensor.name.startswith("w") and tensor.name.endswith("_scale")]
    assert [list(tensor.dims) for tensor in weights] == [[32]], "one scale per output channel"


def test_sensitive_layers_stay_in_float(tmp_path):
    source, path = outlier_classifier(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    calibration, validation = ([batch * [[[0]], [[1]], [[1]]] for batch in batches(seed)] for seed in (0, 1))
    calibration, validation = ([batch.astype(np.float32) for batch in each] for each in (calibration, validation))
    found = quantize(source, path, calibration, validation, calibrations=["min_max"])
    everything, *_ = found.tried
    assert everything.float_layers == ()
    assert everything.agreement < 0.99
    assert "conv/Conv" in found.chosen.float_layers
    assert found.chosen.agreement > everything.agreement
    assert found.chosen.error < everything.error
    ran = {each.layer: each.operator for each in profile(path).operators}
    assert ran["conv"] == "Conv", "ONNX Runtime computes the layer in float"


def test_layers_stay_in_int8_where_the_loss_is_accepted(tmp_path):
    source, path = outlier_classifier(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    data = [(batch * [[[0]], [[1]], [[1]]]).astype(np.float32) for batch in batches(0)]
    found = quantize(source, path, data, data, calibrations=["min_max"], accept_drop=100)
    assert found.chosen.float_layers == ()


def test_loss_is_measured_by_labels(tmp_path):
    labels = np.zeros(128, np.int64)
    source = conv_classifier(tmp_path / "float.onnx")
    found = quantize(source, tmp_path / "int8.onnx", batches(0), batches(1), labels=labels, calibrations=["min_max"])
    assert abs(found.chosen.change_points) <= 100 * (1 - found.chosen.agreement)


def test_equal_inputs_give_equal_files(tmp_path):
    source = conv_classifier(tmp_path / "float.onnx")
    for name in ("a.onnx", "b.onnx"):
        quantize(source, tmp_path / name, batches(0), batches(1))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_candidates_are_compared_with_the_float_file(tmp_path):
    found = quantize(conv_classifier(tmp_path / "float.onnx"), tmp_path / "int8.onnx", batches(0), batches(1))
    assert all(0 <= each.agreement <= 1 and each.error == pytest.approx(each.error) for each in found.tried)
    assert all(each.error < (0.1 if HAS_INT8_UNITS else 0.6) for each in found.tried)


def test_rounding_of_pixels_does_not_change_the_logits(tmp_path):
    """A mean of 0.5 puts every pixel between two integers, unless the range avoids that."""
    torch.manual_seed(0)
    source, path = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    preprocess = Preprocess(3, 16, Normalization(mean=[0.5] * 3, std=[0.5] * 3))
    write_unchecked(create_model("mini/resnet8_025", num_classes=10).eval(), preprocess, source)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 3, 16, 16)).astype(np.float32)
    quantize(source, path, images[:2] / 255, images[2:] / 255, calibrations=("min_max",), float_layers=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    divided, multiplied = (
        session.run(["logits"], {"image": pixels})[0] for pixels in (images[2] / 255, images[2] * np.float32(1 / 255))
    )
    assert np.array_equal(divided, multiplied)
