"""Quantization as part of a run: which mode trains, and that ONNX Runtime agrees with the training's simulation."""

import itertools
from pathlib import Path

import pytest

from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill
from ttm_core.report.schema import ExportedFile, Report
from ttm_core.training.trainer import Interrupted


def int8_of(workdir: Path) -> ExportedFile:
    report = Report.model_validate_json((workdir / "out" / "report.json").read_text())
    (form,) = [form for form in report.exports if form.format == "onnx_int8"]
    return form


def test_quantization_aware_training_agrees_with_onnx_runtime(digits_idx, teacher_file, tmp_path):
    quantize = {"mode": "aware", "epochs": 2}
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize=quantize)
    distill(spec, tmp_path)
    form = int8_of(tmp_path)
    assert form.quantization is not None
    aware = form.quantization.aware
    assert aware is not None
    assert (aware.epochs, aware.reason) == (2, None)
    assert aware.agreement >= 0.995
    assert aware.exported == (aware.top1_after > aware.top1_before)


@pytest.mark.thorough
def test_interrupted_training_is_repeated_with_the_same_result(digits_idx, teacher_file, tmp_path):
    quantize = {"mode": "aware", "epochs": 1}
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize=quantize)
    steps = distill(spec, tmp_path / "whole").steps
    asked = itertools.count(1)
    with pytest.raises(Interrupted) as caught:
        distill(spec, tmp_path / "stopped", should_stop=lambda: next(asked) > steps + 2)
    assert caught.value.step == steps
    distill(spec, tmp_path / "stopped")
    files = [tmp_path / name / "out" / "student-int8.onnx" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_auto_trains_after_a_loss_or_many_changed_classes(digits_idx, teacher_file, tmp_path):
    for accept_drop in (0, 100):
        quantize = {"accept_drop": accept_drop, "epochs": 1}
        spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize=quantize)
        distill(spec, tmp_path / str(accept_drop))
    strict, lenient = (int8_of(tmp_path / name).quantization for name in ("0", "100"))
    assert strict.chosen == lenient.chosen
    assert (strict.aware is not None) == (strict.chosen.agreement < 1 or strict.chosen.change_points < 0)
    assert lenient.aware is None


def test_no_int8_file_without_quantization(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize={"mode": "none"})
    result = distill(spec, tmp_path)
    assert "student-int8.onnx" not in {artifact.name for artifact in result.artifacts}
