"""Measuring a run's ONNX files: what is measured, and that a failure only leaves a warning."""

import pytest

from tests.ttm_measure.factories import conv_classifier
from ttm_core.export.measure import coarsen, device_name, measure_exports
from ttm_core.report.schema import ExportedFile
from ttm_core.spec.events import Log, Measured


def exported(file: str = "student.onnx", size: int | None = 100, precision: str | None = "fp32") -> ExportedFile:
    return ExportedFile(format="onnx", file=file, size=size, precision=precision)


def test_files_are_measured_and_emitted(tmp_path, monkeypatch):
    monkeypatch.setenv("TTM_DEVICE_NAME", "pi5")
    out = tmp_path / "out"
    out.mkdir()
    conv_classifier(out / "student.onnx")
    seen = []
    found = measure_exports(
        out, [exported(), exported("student-timm.zip", precision=None)], [], seen.append, keep_teacher=False
    )
    assert {(each.file, each.device) for each in found.student} == {("student.onnx", "pi5")}
    assert {each.batch for each in found.student} == {1, 32}
    assert found.teacher == []
    assert [each.measurement for each in seen if isinstance(each, Measured)] == found.student
    assert [part.name for part in found.profiles[0].layers][-1] == "fc"


def test_damaged_file_leaves_warnings(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "student.onnx").write_bytes(b"not a graph")
    seen = []
    found = measure_exports(out, [exported()], [], seen.append, keep_teacher=False)
    assert (found.student, found.teacher, found.profiles) == ([], [], [])
    assert {each.level for each in seen if isinstance(each, Log)} == {"warning"}
    assert "not an ONNX file" in seen[0].message


def test_nothing_is_measured_without_onnx_files(tmp_path):
    assert measure_exports(tmp_path, [exported(size=None)], [], pytest.fail, keep_teacher=False).student == []


def test_device_name_is_valid_whatever_the_host_is_called(monkeypatch):
    for given, expected in (("pi5", "pi5"), ("a host/with: spaces", "a-host-with-spaces"), ("...", "worker")):
        monkeypatch.setenv("TTM_DEVICE_NAME", given)
        assert device_name() == expected
    monkeypatch.setenv("TTM_DEVICE_NAME", "x" * 100)
    assert len(device_name()) == 64


def test_layers_are_added_up_to_blocks():
    layers = {f"blocks.{block}.{part}": 1.0 for block in range(3) for part in ("conv", "bn", "act")} | {"fc": 2.0}
    assert coarsen(layers, 10) == layers
    assert coarsen(layers, 9) == {"blocks.0": 3.0, "blocks.1": 3.0, "blocks.2": 3.0, "fc": 2.0}
    assert coarsen(layers, 1) == {"blocks": 9.0, "fc": 2.0}
    assert coarsen({}, 1) == {}
