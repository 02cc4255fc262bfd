"""Complete runs on other dataset formats."""

from pathlib import Path

import pytest
import torch

from tests.ttm_core.data import formats
from tests.ttm_core.factories import digits_folder, spec
from ttm_core.errors import BadDataset
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import events


def run(data: Path, workdir: Path, shared: Path) -> events.Result:
    request = spec(data, exports=[], training={"epochs": 1, "batch_size": 4})
    return distill(request, workdir, inputs=Inputs(data, data_cache=shared), device=torch.device("cpu"))


def test_runs_share_packed_parquet(tmp_path):
    data = formats.parquet_folder(tmp_path / "set")
    first = run(data, tmp_path / "one", tmp_path / "shared")
    (packed,) = (entry for entry in (tmp_path / "shared").iterdir() if entry.name.startswith("parquet-"))
    made_at = (packed / "train.images").stat().st_mtime_ns
    again = run(data, tmp_path / "two", tmp_path / "shared")
    assert (packed / "train.images").stat().st_mtime_ns == made_at
    assert not (tmp_path / "two" / "cache").exists()
    assert [made.sha256 for made in first.artifacts if made.name == "student.safetensors"] == [
        made.sha256 for made in again.artifacts if made.name == "student.safetensors"
    ]


@pytest.fixture
def unlabelled(tmp_path):
    """Training images in one folder, validation images in a folder a class."""
    folder = digits_folder(tmp_path / "set")
    for number, path in enumerate(sorted((folder / "train").glob("*/*.png"))):
        path.rename(folder / "train" / f"{number}.png")
    return folder


def test_training_without_labels(tmp_path, unlabelled):
    labelled = spec(digits_folder(tmp_path / "labelled"), exports=[], training={"epochs": 1, "batch_size": 8})
    distill(labelled, tmp_path / "teacher", device=torch.device("cpu"))
    teacher = tmp_path / "teacher" / "out" / "student.safetensors"
    method = {"kind": "wttm", "ce_weight": 0}
    training = {"epochs": 1, "batch_size": 8, "augmentation": {"kind": "crop_flip", "mix": {"mixup_alpha": 0.2}}}
    request = spec(unlabelled, teacher, method=method, exports=[], training=training)
    result = distill(request, tmp_path / "run", device=torch.device("cpu"))
    assert result.student_validation.images == 12
    assert result.teacher_validation.images == 12


@pytest.mark.parametrize("method", ["ce", {"kind": "wttm", "ce_weight": 1}, "dkd"])
def test_methods_that_require_labels_are_refused(tmp_path, unlabelled, method):
    teacher = tmp_path / "never-read.safetensors"
    request = spec(unlabelled, None if method == "ce" else teacher, method=method)
    with pytest.raises(BadDataset, match="have no labels"):
        distill(request, tmp_path / "run", device=torch.device("cpu"))
