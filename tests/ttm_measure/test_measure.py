"""Measurements of ONNX files: what they contain, and that they describe the file that ran."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from tests.ttm_measure.factories import conv_classifier
from ttm_measure import Shape, compare, measure, profile
from ttm_measure.machine import usable_cores


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_classifier(tmp_path / "student.onnx")


def test_measurement_describes_the_file_and_the_runtime(model):
    measured = measure(model, batch=4, threads=1, seconds=0.3)
    assert measured.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (measured.runtime, measured.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert (measured.provider, measured.precision) == ("CPUExecutionProvider", "fp32")
    assert (measured.batch, measured.threads) == (4, 1)
    assert measured.cpu
    assert 0 < measured.p50_ms <= measured.p90_ms
    assert measured.throughput == pytest.approx(4 * 1000 / measured.p50_ms)
    assert measured.repeats >= 3
    assert measured.load_ms > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_peak_memory_grows_with_the_model(tmp_path):
    small, large = conv_classifier(tmp_path / "small.onnx"), conv_classifier(tmp_path / "large.onnx", channels=2**17)
    of_small, of_large = compare([small, large], [Shape(1, 1)], seconds=0.2)
    # The large model's convolution has 14 MiB of weights and 32 MiB of activations.
    assert of_large.peak_memory_bytes > of_small.peak_memory_bytes + 40 * 2**20


def test_files_are_measured_at_each_shape(tmp_path):
    paths = [conv_classifier(tmp_path / "a.onnx"), conv_classifier(tmp_path / "b.onnx", channels=4)]
    shapes = [Shape(1, 1), Shape(3, 2)]
    measured = compare(paths, shapes, seconds=0.1)
    assert [(each.batch, each.threads) for each in measured] == [(1, 1), (1, 1), (3, 2), (3, 2)]
    assert [each.sha256 for each in measured[:2]] == [each.sha256 for each in measured[2:]]
    assert measured[0].sha256 != measured[1].sha256


def test_process_is_pinned_where_it_has_enough_cores(model):
    cores = len(usable_cores())
    assert measure(model, threads=1, seconds=0.1).pinned
    assert not measure(model, threads=cores + 1, seconds=0.1).pinned


def test_stops_at_the_stated_error_or_after_the_time(model):
    assert measure(model, relative_error=0.5, seconds=60).relative_error <= 0.5
    assert measure(model, relative_error=0.0, seconds=0.1).repeats >= 3


def test_profile_names_layers_and_operators(model):
    result = profile(model, batch=2)
    assert {each.operator for each in result.operators} >= {"Conv", "MatMul"}
    assert {"conv", "fc"} <= set(result.by_layer())
    assert sum(result.by_operator().values()) == pytest.approx(result.total_ms)
    assert result.total_ms > 0


def test_command_prints_measurements_as_json(model):
    command = [sys.executable, "-m", "ttm_measure", str(model), str(model), "--seconds", "0.1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert first["sha256"] == second["sha256"]


def test_measuring_imports_no_torch(model):
    code = "import sys, ttm_measure.child, ttm_measure.process; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
