"""Hostile files as job inputs, read by the real trainer: the job fails with a user error after one attempt, and the worker
continues with the next job.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.security.corpus import archives, checkpoints, images, onnx_files
from tests.security.hostile_jobs import assert_user_error, hostile_rig, run
from tests.support.rig import Rig


@pytest.fixture(scope="module")
def rig(sqlite_template: Path, folder: Path, pets: str, forked_trainer_command: Sequence[str]) -> Iterator[Rig]:
    with hostile_rig(sqlite_template, folder, pets, forked_trainer_command) as rig:
        yield rig


@pytest.mark.parametrize("name", checkpoints.CASES)
def test_checkpoints(rig: Rig, folder: Path, pets: str, name: str) -> None:
    path, mark = folder / "data" / "teacher.pth", folder / "mark"
    checkpoints.CASES[name](path, mark)
    teacher = {"checkpoint": path.as_uri(), "architecture": checkpoints.ARCHITECTURE}
    job = run(rig, dataset=pets, method="kd", teacher=teacher)
    assert_user_error(rig, job, "bad_checkpoint", "architecture_mismatch", "bad_dataset", "bad_spec", "invalid_input")
    assert not mark.exists(), "code from the checkpoint was executed"


@pytest.mark.parametrize("name", onnx_files.CASES)
def test_onnx_teachers(rig: Rig, folder: Path, pets: str, name: str) -> None:
    path = folder / "data" / "teacher.onnx"
    onnx_files.CASES[name](path)
    teacher = {"checkpoint": path.as_uri(), "normalization": onnx_files.NORMALIZATION}
    job = run(rig, dataset=pets, method="kd", teacher=teacher)
    assert_user_error(rig, job, "bad_checkpoint", *(["out_of_memory"] if "petabytes" in name else []))


@pytest.mark.parametrize("name", archives.CASES)
def test_archives(rig: Rig, folder: Path, name: str) -> None:
    path = folder / "data" / "archive"
    archives.CASES[name](path)
    before = {str(each) for each in folder.rglob("*") if "work" not in each.parts and ".db" not in each.name}
    job = run(rig, dataset=path.as_uri())
    assert_user_error(rig, job, "bad_dataset")
    after = {str(each) for each in folder.rglob("*") if "work" not in each.parts and ".db" not in each.name}
    assert {each for each in after - before if "storage" not in each} == set()
    assert not Path("/tmp/absolute.png").exists()
    assert sum(file.stat().st_size for file in (folder / "work").rglob("*") if file.is_file()) < 8 << 20


@pytest.mark.parametrize("name", images.CASES)
def test_images(rig: Rig, folder: Path, name: str) -> None:
    suffix, make = images.CASES[name]
    content = make()
    root = folder / "data" / "images"
    shutil.rmtree(root, ignore_errors=True)
    for label in ("cat", "dog"):
        (root / "train" / label).mkdir(parents=True)
        for number in range(4):
            (root / "train" / label / f"{number}.{suffix}").write_bytes(content)
    assert_user_error(rig, run(rig, dataset=root.as_uri()), "bad_dataset")
