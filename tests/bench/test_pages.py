"""Output of the benchmarks: the results page is current and contains every recipe."""

import sys

import pytest

from bench import compare_methods, results_page
from tests.ttm_core.factories import digits_folder
from ttm_core.spec import recipes


def test_results_page_is_current() -> None:
    """If this fails, run `python -m bench.results_page`."""
    assert (results_page.DOCS / "results.md").read_text(encoding="utf-8") == results_page.page()


def test_results_page_has_published_and_measured_accuracy_of_every_recipe() -> None:
    page = results_page.page()
    for recipe in map(recipes.find, recipes.names()):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{recipe.name}` |")]
        assert line.endswith(" | not run |")
        if (distilled := recipe.published.get("distilled")) is not None:
            assert f"| {distilled:.2f} |" in line


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
