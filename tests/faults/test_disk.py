"""Full disks, tested on small real file systems."""

import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.conftest import make_settings
from tests.support.factories import job_of, queued, spec
from tests.support.rig import MakeRig
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_core.__main__ import as_engine_error
from ttm_core.export.formats.program import write_program
from ttm_core.export.formats.timm_folder import write_timm_zip
from ttm_core.export.student import Student
from ttm_core.files.full_disk import full_disk_errors, save_array
from ttm_core.models.build import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.job import Normalization
from ttm_core.spec.structure import ModelStructure
from ttm_core.study.untrained import UntrainedStudent, export_untrained
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import StorageFull
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts, recording
from ttm_jobs.states import JobState
from ttm_jobs.storage.local import LocalStorage

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
    pytest.mark.fault("disk full"),
]

# The size of the small disk.
SIZE = 256 * 1024


@contextmanager
def mounted(path: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False).returncode != 0:
        pytest.skip("this container may not mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", SIZE) as path:
        yield path


def fill(disk: Path) -> None:
    """Fills the disk completely."""

    def write(filler: BinaryIO) -> None:
        while True:
            filler.write(bytes(4096))

    with (disk / "filler").open("ab", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        write(filler)


def test_full_storage_at_the_student_upload(make_rig: MakeRig, small_disk: Path, dataset: str) -> None:
    rig = make_rig(storage_url=f"file:{small_disk}/storage")
    big = spec(name=f"steps=10 student_bytes={2 * SIZE}", dataset=dataset)
    job_id = queued(rig.engine, spec=big, max_attempts=2)
    rig.run(job_id)
    assert job_of(rig.engine, job_id).state is JobState.QUEUED, "space may become available"
    with session_scope(rig.engine) as session:
        crud.get(session, job_id).not_before = None
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.FAILED
    assert ((job.failure or {})["code"], (job.failure or {})["origin"]) == ("storage_full", "system")
    with read_scope(rig.engine) as session:
        assert [artifact.name for artifact in artifacts.of_job(session, job_id)] == ["trainer.log"]
        kept = recording.checkpoints(session, job_id)
    # No partial artifact; the last checkpoint is complete.
    assert not any("student" in str(path) or ".partial" in str(path) for path in small_disk.rglob("*"))
    assert [row.step for row in kept] == [10, 5]
    for row in kept:
        assert len(rig.read(row.key)) == row.size


def test_full_storage_keeps_the_previous_checkpoint(make_rig: MakeRig, small_disk: Path, dataset: str) -> None:
    rig = make_rig(storage_url=f"file:{small_disk}/storage")
    job_id = queued(rig.engine, spec=spec(name="steps=400 step_seconds=0.02", dataset=dataset), max_attempts=3)
    thread = rig.start(job_id)
    wait_until(lambda: any(rig.storage.list("jobs")))

    def filled_until_the_end() -> bool:
        fill(small_disk)  # again, because each new checkpoint deletes an older one
        return not thread.is_alive()

    wait_until(filled_until_the_end)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.QUEUED
    with read_scope(rig.engine) as session:
        [attempt] = crud.attempts(session, job_id)
        assert (attempt.outcome, attempt.code) == ("error", "storage_full")
        for row in recording.checkpoints(session, job_id):
            assert len(rig.read(row.key)) == row.size
    (small_disk / "filler").unlink()
    with session_scope(rig.engine) as session:
        crud.get(session, job_id).not_before = None
    rig.run(job_id)
    assert job_of(rig.engine, job_id).state is JobState.SUCCEEDED
    with read_scope(rig.engine) as session:
        assert rig.read(artifacts.get(session, job_id, artifacts.STUDENT).key).decode() == weights_after(400, "0")


def test_full_worker_disk_at_the_input_fetch(make_rig: MakeRig, small_disk: Path, dataset: str) -> None:
    rig = make_rig(work_dir=small_disk / "work")
    fill(small_disk)
    job_id = queued(rig.engine, spec=spec(name="steps=3", dataset=dataset), max_attempts=1)
    rig.run(job_id)
    assert (job_of(rig.engine, job_id).failure or {})["code"] == "storage_full"


@pytest.mark.parametrize("what", ["storage", "database"])
def test_full_disk_is_reported_as_not_ready(sqlite_template: Path, tmp_path: Path, what: str) -> None:
    with mounted(tmp_path / "disk", 4 << 20) as disk:
        database = (disk if what == "database" else tmp_path) / "ttm.db"
        shutil.copy(sqlite_template, database)
        settings = make_settings(f"sqlite:///{database}", tmp_path)
        if what == "storage":
            settings = settings.model_copy(update={"storage_url": f"file:{disk}/storage"})
        with TestClient(create_app(settings)) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            fill(disk)
            answer = client.get("/readyz")
            assert (answer.status_code, answer.json()["checks"][what]) == (503, "unavailable")
            assert client.post("/uploads", content=bytes(100_000)).status_code in (503, 507)
            (disk / "filler").unlink()
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/uploads", content=bytes(100_000)).status_code == 201


PIXELS = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
PREPROCESS = Preprocess(3, 32, Normalization(mean=[0.5] * 3, std=[0.5] * 3))


def a_student(architecture: str) -> Student:
    structure = ModelStructure(architecture=architecture, num_classes=10)
    return Student(build(structure).eval(), structure, [str(label) for label in range(10)], PREPROCESS, {})


def screen_students(folder: Path) -> None:
    structure = ModelStructure(architecture="mini/resnet8_100", num_classes=10)
    student = UntrainedStudent(structure, PREPROCESS, [str(label) for label in range(10)], PIXELS)
    export_untrained(student, folder, "0")


@pytest.mark.parametrize(
    ("write", "size"),
    [
        pytest.param(screen_students, 400 << 10, id="quantizer"),
        # ONNX writes a part of a file without an error.
        pytest.param(screen_students, 1100 << 10, id="quantizer-partial-file"),
        # PyTorch ends the process.
        pytest.param(
            lambda folder: write_program(a_student("mini/resnet8_100"), folder / "a", PIXELS), 99 << 10, id="pt2"
        ),
        pytest.param(
            lambda folder: write_timm_zip(a_student("mobilenetv3_small_050"), folder / "a"), 1 << 20, id="timm"
        ),
        pytest.param(lambda folder: save_array(folder / "a.npy", np.zeros(1 << 16)), 99 << 10, id="numpy"),
    ],
)
def test_full_disk_is_no_property_of_a_model_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object], size: int
) -> None:
    with mounted(tmp_path / "disk", size) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(OSError, match="No space") as raised:
            write(disk)
        assert raised.value.errno == errno.ENOSPC


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Limits the size of the files that this process and its new children write, as `ulimit -f` does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_file_sizes_counts_as_a_full_storage(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    with file_size_limit(2**20), pytest.raises(StorageFull, match="File too large"):
        storage.put("new", io.BytesIO(bytes(2**21)))
    assert list(tmp_path.iterdir()) == []


def test_a_quota_is_no_property_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reserve(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def write() -> None:
        raise RuntimeError("ONNX Runtime cannot load the file")

    with pytest.raises(RuntimeError), full_disk_errors(2**20, tmp_path):
        write()
    monkeypatch.setattr("os.posix_fallocate", reserve)
    with pytest.raises(OSError, match="quota exceeded") as raised, full_disk_errors(2**20, tmp_path):
        write()
    assert (raised.value.errno, raised.value.filename) == (errno.EDQUOT, str(tmp_path))


def test_a_limit_on_file_sizes_is_no_property_of_a_model(tmp_path: Path) -> None:
    with file_size_limit(250 << 10), pytest.raises(OSError, match="File too large") as raised:
        screen_students(tmp_path)
    failure = as_engine_error(raised.value)
    assert (failure.code, "ulimit -f" in failure.message) == ("storage_full", True)


def test_a_limit_on_file_sizes_is_no_property_of_an_unpacked_file(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**19)}, tmp_path / "x.pth")
    reading = (
        "import resource, sys; from pathlib import Path; from ttm_core.models.weights import _check\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try: _check(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", reading, tmp_path / "x.pth", tmp_path / "x.safetensors"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith("StorageFull a file exceeds the limit on file sizes (ulimit -f)")
