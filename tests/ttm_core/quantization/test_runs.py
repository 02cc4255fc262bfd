"""Quantization as part of a run: which mode trains, and that ONNX Runtime agrees with the training's simulation."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.int8_units import HAS_INT8_UNITS
from tests.ttm_core import factories
from ttm_core.methods import build
from ttm_core.pipeline.distill import distill
from ttm_core.report.schema import ExportedFile, Report
from ttm_core.spec.events import CheckpointSaved, Event, Log, Result
from ttm_core.spec.job import DistillSpec


def int8_of(workdir: Path) -> ExportedFile:
    report = Report.model_validate_json((workdir / "out" / "report.json").read_text())
    (form,) = [form for form in report.exports if form.format == "onnx_int8"]
    return form


def aware(dataset: Path, teacher: Path) -> DistillSpec:
    return factories.spec(dataset, teacher, exports=["onnx_int8"], quantize={"mode": "aware", "epochs": 2})


@pytest.fixture(scope="module")
def trained(digits_idx, teacher_file, tmp_path_factory) -> tuple[Path, Result]:
    """The folder of a run with quantization-aware training, and its result."""
    folder = tmp_path_factory.mktemp("aware")
    return folder, distill(aware(digits_idx, teacher_file), folder)


@pytest.mark.skipif(not HAS_INT8_UNITS, reason="ONNX Runtime's int8 products saturate on this CPU")
def test_quantization_aware_training_agrees_with_onnx_runtime(trained):
    form = int8_of(trained[0])
    assert form.quantization is not None
    aware = form.quantization.aware
    assert aware is not None
    assert (aware.epochs, aware.reason) == (2, None)
    assert aware.agreement >= 0.995
    assert aware.exported == (aware.top1_after > aware.top1_before)


class Killed(BaseException):
    """Ends a run without a last checkpoint."""


def test_killed_training_resumes_from_its_checkpoint_with_the_same_result(trained, digits_idx, teacher_file, tmp_path):
    folder, result = trained
    spec = aware(digits_idx, teacher_file)
    steps_per_epoch = result.steps // spec.training.epochs
    asked = itertools.count(1)

    def kill() -> bool:
        if next(asked) > result.steps + steps_per_epoch + 2:
            raise Killed
        return False

    seen: list[Event] = []
    with pytest.raises(Killed):
        distill(spec, tmp_path, should_stop=kill, on_event=seen.append)
    steps = [event.step for event in seen if isinstance(event, CheckpointSaved)]
    assert steps[-1] == result.steps + steps_per_epoch
    assert distill(spec, tmp_path, on_event=seen.append).steps == result.steps
    messages = [event.message for event in seen if isinstance(event, Log)]
    assert f"quantization-aware training resumes from step {steps_per_epoch}" in messages
    for name in ("student.safetensors", "student-int8.onnx"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()


@pytest.mark.parametrize(
    "training",
    [{"gradient_clipping": {"kind": "agc", "value": 0.01}}, {"optimizer": {"name": "adamw", "layer_decay": 0.5}}],
    ids=["agc", "layer decay"],
)
def test_training_of_options_that_need_the_layers_of_the_architecture(training, digits_idx, teacher_file, tmp_path):
    quantize = {"mode": "aware", "epochs": 1}
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize=quantize, training=training)
    distill(spec, tmp_path)
    form = int8_of(tmp_path)
    assert (form.reason, form.quantization.aware.reason) == (None, None)


def test_ramps_do_not_start_again(digits_idx, teacher_file, tmp_path, monkeypatch):
    """The temperature and weight of quantization-aware training are those of the run's last step."""
    used = []
    losses = build.losses

    def kd(z, v, *, temperature):
        used.append(temperature)
        return losses.kd(z, v, temperature=temperature)

    monkeypatch.setattr(build, "losses", SimpleNamespace(kd=kd))
    method = {"kind": "kd", "gamma": {"kind": "linear", "first": 0.5, "last": 0.25}}
    quantize = {"mode": "aware", "epochs": 1}
    result = distill(
        factories.spec(digits_idx, teacher_file, method=method, quantize=quantize, exports=["onnx_int8"]), tmp_path
    )
    trained = used[-result.steps // 2 :]  # half as many epochs
    assert trained == [pytest.approx(4.0)] * len(trained)
    assert used[0] == pytest.approx(2.0)


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
    spec = factories.spec(digits_idx, teacher_file, exports=["timm", "onnx_int8"], quantize={"mode": "none"})
    result = distill(spec, tmp_path)
    assert "student-int8.onnx" not in {artifact.name for artifact in result.artifacts}
