"""The trainable module of a quantized graph computes what ONNX Runtime computes, before and after training."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.ttm_core.export.test_formats import made
from ttm_core.export.onnx import write_onnx
from ttm_core.quantization.fake_quantized import FakeQuantized, UnsupportedGraph
from ttm_core.quantization.post_training import quantize

ARCHITECTURES = {"mini/resnet8_025": 16, "test_efficientnet": 32}
OPERATORS = [
    "resnet10t",
    "cifar/MobileNetV2",
    pytest.param("mobilenetv3_small_050", marks=pytest.mark.thorough),
    pytest.param("tf_efficientnet_lite0", marks=pytest.mark.thorough),
]
_AGREEMENT = 0.995


def pixels(count: int, size: int, seed: int = 0) -> list[np.ndarray]:
    """Batches of noise of random colors and contrasts."""
    random = np.random.default_rng(seed)
    shape = (32, 3, 1, 1)
    return [(random.random(shape) * random.random((32, 3, size, size))).astype(np.float32) for _ in range(count // 32)]


def files(architecture: str, folder: Path) -> tuple[Path, Path]:
    """The float32 file of a student and its int8 file."""
    size = ARCHITECTURES.get(architecture, 32)
    floating, quantized = folder / "float.onnx", folder / "int8.onnx"
    write_onnx(made(architecture, size), floating, torch.randint(256, (3, 3, size, size), dtype=torch.uint8))
    quantize(floating, quantized, pixels(128, size), pixels(64, size, 1), calibrations=["percentile"])
    return floating, quantized


def logits(path: Path, batches: list[np.ndarray]) -> np.ndarray:
    # Without fusions, ONNX Runtime computes the graph in float, as the module does. Integer kernels round differently;
    # tests/ttm_core/quantization/test_runs.py compares with them.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    return np.concatenate([session.run(["logits"], {"image": batch})[0] for batch in batches])


def fake(student: FakeQuantized, batches: list[np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate([student(torch.from_numpy(batch)).numpy() for batch in batches])


def operators_of(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The share of images with the same class. A class within one step of the quantized logits counts as the same:
    models that are hardly trained often return equal logits, and the last rounding then decides.
    """
    step = np.diff(np.unique(first.round(4))).min()
    chosen = np.take_along_axis(first, second.argmax(1)[:, None], axis=1)[:, 0]
    return float((first.max(1) - chosen <= 1.01 * step).mean())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_module_and_onnx_file_agree_before_and_after_training(architecture, tmp_path):
    floating, quantized = files(architecture, tmp_path)
    operators = operators_of(quantized)
    batches = pixels(640, ARCHITECTURES[architecture], 2)
    student = FakeQuantized(quantized, floating)
    before = fake(student, batches)
    assert agreement(before, logits(quantized, batches)) >= _AGREEMENT
    student.write(tmp_path / "untrained.onnx")
    assert agreement(before, logits(tmp_path / "untrained.onnx", batches)) >= _AGREEMENT

    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    labels = torch.arange(32) % 3
    for batch in batches[:5]:
        loss = torch.nn.functional.cross_entropy(student(torch.from_numpy(batch)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in student.parameters())
    student.write(tmp_path / "trained.onnx")
    assert operators_of(tmp_path / "trained.onnx") == operators
    after = fake(student, batches)
    assert not np.allclose(after, before)
    assert agreement(after, logits(tmp_path / "trained.onnx", batches)) >= _AGREEMENT


@pytest.mark.parametrize("architecture", OPERATORS)
def test_operators_equal_those_of_onnx_runtime(architecture, tmp_path):
    """Without quantization, so that rounding does not hide a difference."""
    path, batches = tmp_path / "float.onnx", pixels(32, 32)
    write_onnx(made(architecture, 32), path, torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8))
    expected = logits(path, batches)
    np.testing.assert_allclose(fake(FakeQuantized(path, path), batches), expected, atol=1e-3 * expected.std())


@pytest.mark.thorough
def test_transformers_are_not_trained(tmp_path):
    floating, quantized = files("test_vit", tmp_path)
    with pytest.raises(UnsupportedGraph, match="no training of the operator"):
        FakeQuantized(quantized, floating)
