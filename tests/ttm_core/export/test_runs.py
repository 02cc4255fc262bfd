"""Output files of a run, measured again from the files alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.ttm_core import factories
from ttm_core.__main__ import main
from ttm_core.export import load_student
from ttm_core.pipeline.distill import distill
from ttm_core.report.schema import Report
from ttm_core.spec.events import Event, Measured
from ttm_core.training.devices import usable_threads
from ttm_core.training.trainer import Interrupted


def report_of(workdir: Path) -> Report:
    return Report.model_validate_json((workdir / "out" / "report.json").read_text())


def test_report_matches_the_files(
    digits_idx: Path, teacher_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = factories.spec(
        digits_idx, teacher_file, exports=["onnx", "onnx_fp16", "onnx_int8", "pt2"], name="<b>digits</b>"
    )
    seen: list[Event] = []
    result = distill(spec, tmp_path, on_event=seen.append)
    out = tmp_path / "out"
    assert {artifact.name for artifact in result.artifacts} == {path.name for path in out.iterdir()}
    for artifact in result.artifacts:
        assert hashlib.sha256((tmp_path / artifact.path).read_bytes()).hexdigest() == artifact.sha256

    report = report_of(tmp_path)
    files = ["student.safetensors", "student.onnx", "student-fp16.onnx", "student-int8.onnx"]
    assert main(["evaluate", *(str(out / name) for name in files), "--dataset", str(digits_idx)]) == 0
    exact, onnx, half, int8 = map(json.loads, capsys.readouterr().out.splitlines())
    assert report.test is not None
    assert exact["top1"] == onnx["top1"] == report.test.student.top1
    assert exact["loss"] == pytest.approx(report.test.student.loss)
    assert report.student.parameters == exact["parameters"]
    exported = [*files[1:], "student.pt2"]
    assert [form.size for form in report.exports] == [(out / name).stat().st_size for name in exported]
    assert [form.top1 for form in report.exports] == [onnx["top1"], half["top1"], int8["top1"], exact["top1"]]
    assert [form.agreement for form in report.exports if form.agreement is not None] == [pytest.approx(1, abs=0.02), 1]
    hashes = {artifact.name: artifact.sha256 for artifact in result.artifacts}
    shapes = {(1, 1), (1, usable_threads()), (32, 1), (32, usable_threads())}
    precisions = [("student.onnx", "fp32"), ("student-fp16.onnx", "fp16"), ("student-int8.onnx", "int8")]
    for name, precision in precisions:
        measured = [each for each in report.measurements if each.file == name]
        assert {(each.batch, each.threads) for each in measured} == shapes
        assert {(each.sha256, each.precision) for each in measured} == {(hashes[name], precision)}
    assert {each.batch for each in report.teacher_measurements} == {1}
    assert [each.measurement for each in seen if isinstance(each, Measured)] == report.measurements
    assert [(each.file, each.precision) for each in report.profiles] == precisions
    assert "fc" in {part.name for part in report.profiles[0].layers}
    (advice,) = report.recommendations
    card = (out / "MODEL_CARD.md").read_text()
    for text in (advice.reason, "The float16 file has a top-1", "The int8 file has a top-1", "torch.export.load"):
        assert text in card

    for name in (*files, "student.pt2", "MODEL_CARD.md"):
        content = (out / name).read_bytes()
        assert not [private for private in (str(digits_idx), str(teacher_file)) if private.encode() in content], name
    student = load_student(out / "student.safetensors")
    assert student.metadata["spec"]["training"]["epochs"] == spec.training.epochs

    assert report.teacher is not None
    assert report.teacher.architecture == "mini/resnet8_050"
    assert report.teacher.file_bytes == teacher_file.stat().st_size
    assert report.test.teacher is not None
    assert result.teacher_test is not None
    assert report.test.teacher.top1 == result.teacher_test.top1 > report.test.student.top1
    assert "<b>" not in (out / "MODEL_CARD.md").read_text().partition("\n---\n")[2]
    assert "<b>" not in (out / "report.html").read_text()


def test_resumed_run_has_the_same_report_except_times(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    spec = factories.spec(digits_idx, teacher_file)
    distill(spec, tmp_path / "whole")
    steps = iter(range(7, -1, -1))
    with pytest.raises(Interrupted):
        distill(spec, tmp_path / "stopped", should_stop=lambda: next(steps) == 0)
    distill(spec, tmp_path / "stopped")
    whole, stopped = report_of(tmp_path / "whole"), report_of(tmp_path / "stopped")
    assert (whole.validation, whole.test) == (stopped.validation, stopped.test)
    passing = {"seconds", "training_seconds", "estimate"}
    assert whole.run.model_dump(exclude=passing) == stopped.run.model_dump(exclude=passing)
    assert whole.student == stopped.student


def test_evaluate_names_the_unreadable_path(
    digits_idx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    for dataset, named in ((digits_idx, tmp_path / "x.safetensors"), (tmp_path / "nowhere", tmp_path / "nowhere")):
        assert main(["evaluate", str(tmp_path / "x.safetensors"), "--dataset", str(dataset)]) == 1
        assert capsys.readouterr().err.startswith(f"{named}: ")


def test_evaluate_matches_classes_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same images as a folder, with sorted classes, and as Parquet with another order of them."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    names = ["cat", "ant", "bee"]
    rows = []
    for number, image in enumerate(pixels):
        path = tmp_path / "folder" / "test" / names[number % 3] / f"{number}.png"
        for copy in (path, tmp_path / "folder" / "train" / path.relative_to(tmp_path / "folder" / "test")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(copy)
        rows.append({"image": path.read_bytes(), "label": number % 3})
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(features)})
    (tmp_path / "table").mkdir()
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / "table" / f"{split}.parquet")
    distill(factories.spec(tmp_path / "folder", exports=["onnx"]), tmp_path / "run")
    files = [str(tmp_path / "run" / "out" / name) for name in ("student.safetensors", "student.onnx")]
    measured = {}
    for folder in ("folder", "table"):
        assert main(["evaluate", *files, "--dataset", str(tmp_path / folder)]) == 0
        measured[folder] = [json.loads(line)["loss"] for line in capsys.readouterr().out.splitlines()]
    assert measured["table"] == pytest.approx(measured["folder"])
    for split in ("train", "test"):
        (tmp_path / "folder" / split / "bee").rename(tmp_path / "folder" / split / "dog")
    assert main(["evaluate", *files, "--dataset", str(tmp_path / "folder")]) == 1
    assert "the dataset has a class 'dog', which the student does not have" in capsys.readouterr().err
