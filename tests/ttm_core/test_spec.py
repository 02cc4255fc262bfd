"""Short forms of specs, and validation errors."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from ttm_core.spec.job import DistillSpec
from ttm_core.spec_file import read_spec

SMALLEST = {"teacher": "upload:1", "student": "resnet18", "dataset": "file:///data/pets"}


def spec(**fields):
    return DistillSpec.model_validate({**SMALLEST, **fields})


def test_spec_of_three_strings_round_trips_through_json():
    short = spec()
    assert short.method.kind == "wttm"
    assert short.teacher.checkpoint == "upload:1"
    assert DistillSpec.model_validate_json(short.model_dump_json()) == short
    assert spec(method="kd").method == spec(method={"kind": "kd", "temperature": 4}).method


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.7, 1.0, 1 / 3])
def test_gamma_and_temperature_determine_each_other(gamma):
    by_gamma = spec(method={"kind": "wttm", "gamma": gamma}).method
    by_temperature = spec(method={"kind": "wttm", "temperature": 1 / gamma}).method
    assert by_gamma.temperature == pytest.approx(1 / gamma)
    assert by_temperature.gamma == pytest.approx(gamma)
    assert spec(method=by_gamma.model_dump()).method == by_gamma


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": {"kind": "wttm", "gamma": 0.5, "temperature": 3}}, "set one of them"),
        ({"method": {"kind": "wttm", "gamma": 0}}, "gamma"),
        ({"method": {"kind": "wttm", "gamma": None, "temperature": 3}}, "gamma"),
        ({"method": {"kind": "wttm", "gamma": "soft"}}, "method"),
        ({"method": {"kind": "wttn"}}, "method"),
        ({"method": "kd", "teacher": None}, "requires a teacher"),
        ({"exports": ["onnx_int8"], "quantize": {"mode": "none"}}, "exports has only 'onnx_int8'"),
        ({"epochs": 3}, "Extra inputs"),
        ({"training": {"batch_size": 1}}, "batch_size"),
        ({"training": {"optimizer": {"name": "sgd", "learning_rate": float("nan")}}}, "finite"),
        ({"training": {"optimizer": {"name": "sgd", "momentum": 0, "nesterov": True}}}, "nesterov"),
        ({"dataset": {"uri": "file:///x", "validation": {"share": 1.5}}}, "share"),
        (
            {"student": {"architecture": "resnet18", "normalization": {"mean": [0.5], "std": [0.5, 0.5]}}},
            "same length",
        ),
        (
            {"teacher": {"checkpoint": "file:///t", "normalization": {"mean": [127.5], "std": [0.5]}}},
            r"mean must be in \[0, 1\].* divide by 255: \[0\.5\]",
        ),
        (
            {"student": {"architecture": "resnet18", "normalization": {"mean": [0.5], "std": [58.4]}}},
            r"std must be in \[0\.001, 1\].* divide by 255: \[0\.229\]",
        ),
        ({"student": {"architecture": "resnet18", "normalization": {"mean": [0], "std": [1e-6]}}}, "std must be in"),
        ({"teacher": "hf:timm/x/model-00001-of-00003.safetensors"}, "part 1 of 3 of a checkpoint"),
        ({"student": {"checkpoint": "file:///model-2-of-2.pt"}}, "part 2 of 2 of a checkpoint"),
        ({"name": "a\0b"}, "NUL"),
        ({"dataset": "file:///a\0b"}, "NUL"),
    ],
)
def test_invalid_specs_are_refused_with_the_reason(fields, words):
    with pytest.raises(ValidationError, match=words):
        spec(**fields)


def test_spec_and_catalogue_do_not_import_torch():
    code = "import sys, ttm_core.spec.job, ttm_core.spec.events, ttm_core.spec.catalogue; print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])"
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == []


def test_yaml_numbers_may_have_an_exponent_without_a_point(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        "student: resnet18\ndataset: data\nmethod: ce\ntraining: {optimizer: {name: sgd, learning_rate: 1e-3, weight_decay: 5E-04}}\n"
    )
    optimizer = read_spec(path).training.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay) == (1e-3, 5e-4)
