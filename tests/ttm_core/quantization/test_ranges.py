"""Ranges of activations by each calibration method."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector
from onnxruntime.quantization.shape_inference import quant_pre_process

from tests.ttm_measure.factories import save
from ttm_core.quantization.entropy import FastHistogramCollector
from ttm_core.quantization.ranges import ActivationStatistics, Calibration

METHODS = get_args(Calibration)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A convolution that returns its input, so that activations are known."""
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["image", "w"], ["logits"], name="conv/Conv")
    save(tmp_path / "float.onnx", [node], [weight], shape=("batch", 1, 32, 32))
    quant_pre_process(tmp_path / "float.onnx", tmp_path / "prepared.onnx")
    return tmp_path / "prepared.onnx"


def batches(*, outlier: float = 1.0) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    found = [random.normal(0, 0.1, (8, 1, 32, 32)).astype(np.float32).clip(-1, 1) for _ in range(3)]
    found[1][0, 0, 0, 0] = outlier
    return found


def test_min_max_is_exact_over_all_batches(identity):
    data = batches(outlier=7.5)
    (low, high) = ActivationStatistics(identity, data).ranges("min_max")["logits"]
    assert (low, high) == (pytest.approx(min(b.min() for b in data)), 7.5)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_grow_by_any_factor_take_bounded_time(identity, method):
    """The first images hardly activate a tensor. Its histogram must not keep the width of those bins."""
    quiet, *others = batches()
    statistics = ActivationStatistics(identity, [quiet * np.float32(1e-30), *others])
    low, high = statistics.ranges(method)["logits"]
    assert low < -0.2
    assert high > 0.2


@pytest.mark.parametrize("method", METHODS)
def test_ranges_are_never_wider_than_the_values(identity, method):
    statistics = ActivationStatistics(identity, batches(outlier=7.5))
    full = statistics.ranges("min_max")
    for name, (low, high) in statistics.ranges(method).items():
        assert full[name][0] <= low < high <= full[name][1]


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    quantized = (np.round((values - low) / step).clip(0, 255)) * step + low
    return float(((quantized - values) ** 2).mean())


def test_least_squares_clips_outliers_and_reduces_the_error(identity):
    data = batches(outlier=1.5)
    statistics = ActivationStatistics(identity, data)
    values = np.concatenate(data)
    full, clipped = statistics.ranges("min_max")["logits"], statistics.ranges("mse")["logits"]
    assert clipped[1] < full[1]
    assert squared_error(values, *clipped) < squared_error(values, *full)


def test_percentile_ignores_a_single_outlier(identity):
    assert ActivationStatistics(identity, batches(outlier=100.0)).ranges("percentile")["logits"][1] < 10


def test_equal_data_give_equal_ranges(identity):
    first, second = (ActivationStatistics(identity, batches()) for _ in range(2))
    assert all(first.ranges(method) == second.ranges(method) for method in METHODS)


@pytest.mark.parametrize(
    "counts",
    [
        lambda random: random.integers(0, 1000, 512),
        lambda random: random.poisson(0.3, 513),
        lambda random: (1000 * np.exp(-(np.linspace(-4, 4, 300) ** 2))).astype(int),
        lambda random: random.integers(0, 50, 701).astype(float) * (random.random(701) < 0.1),
        lambda random: np.bincount([64, 127], [77, 3], 128),
        lambda random: np.zeros(200, int),
    ],
)
def test_entropy_finds_the_thresholds_of_onnx_runtime(counts):
    random = np.random.default_rng(0)
    made = counts(random)
    edges = np.linspace(-3, 3, len(made) + 1, dtype=np.float32)
    found = [
        kind("entropy", False, 512, 128, 99.99, "same").get_entropy_threshold((made, edges, least, most), 128)
        for kind in (HistogramCollector, FastHistogramCollector)
        for least, most in ((edges[0], edges[-1]), (np.float32(-0.5), np.float32(1.2)))
    ]
    assert found[:2] == found[2:]


def test_range_of_normalized_pixels_is_wider_by_a_step_if_all_would_be_ties(identity):
    levels = np.arange(256, dtype=np.float32).repeat(32).reshape(8, 1, 32, 32) / 255
    statistics = ActivationStatistics(identity, [(levels - 0.5) / 0.5])
    low, high = statistics.without_ties(statistics.ranges("min_max"))["logits"]
    assert (low, high) == (-1, pytest.approx(1 + 2 / 255))
    positions = np.unique((levels.astype(np.float64) - 0.5) / 0.5) / ((high - low) / 255) % 1
    assert np.abs(positions - 0.5).min() > 1e-3
    plain = ActivationStatistics(identity, [levels])
    assert plain.without_ties(plain.ranges("min_max")) == plain.ranges("min_max")
