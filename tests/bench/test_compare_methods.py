"""Output of the benchmarks."""

import sys

import pytest

from bench import compare_methods
from tests.ttm_core.factories import digits_folder


@pytest.mark.thorough
def test_methods_are_compared_on_a_pair(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shortened recipe on a few generated images prints one table, and finished runs are not repeated."""
    import torch

    from tests.support.models import create_model
    from ttm_core.models.weights import write_safetensors

    dataset = digits_folder(tmp_path / "images", classes=4, each=12, size=32)
    torch.manual_seed(0)
    teacher = tmp_path / "teacher.safetensors"
    write_safetensors(teacher, create_model("cifar/resnet56", num_classes=4).state_dict(), {})
    out = tmp_path / "out"
    command = [
        "compare",
        "--dataset",
        str(dataset),
        "--teacher",
        str(teacher),
        "--allow-chance",
        "--pair",
        "cifar100/resnet56-resnet20",
    ]
    command += ["--methods", "ce,wttm", "--seeds", "1", "--epochs", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    compare_methods.main()
    first = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in first.splitlines()[2:]] == ["ce", "wttm"]
    written = {path: path.stat().st_mtime_ns for path in out.rglob("student.safetensors")}
    assert len(written) == 2
    compare_methods.main()
    assert capsys.readouterr().out == first
    assert written == {path: path.stat().st_mtime_ns for path in out.rglob("student.safetensors")}
