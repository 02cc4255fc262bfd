"""Hostile files as job inputs, read by the real trainer: the job fails with a user error after one attempt, and the worker
continues with the next job.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security.corpus import archives, checkpoints, images
from tests.support.factories import job_of, queued, spec
from tests.support.forked_trainer import forked_trainer
from tests.support.rig import Rig
from tests.ttm_core.data.formats import png, sample
from ttm_jobs.database.engine import create_engine
from ttm_jobs.models import Job
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def pets(folder: Path) -> str:
    """A valid dataset."""
    for number, pixels in enumerate(sample(16)[0]):
        label = folder / "data" / "pets" / "train" / ("cat", "dog")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.png").write_bytes(png(pixels))
    return (folder / "data" / "pets").as_uri()


@pytest.fixture(scope="module")
def rig(sqlite_template: Path, folder: Path, pets: str) -> Iterator[Rig]:
    """One worker for all cases. Each case must leave it in a working state."""
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder}/ttm.db",
            "storage_url": f"file:{folder}/storage",
            "work_dir": folder / "work",
            "data_roots": (folder / "data",),
            "event_flush_seconds": 0.1,
        }
    )
    engine = create_engine(settings.database_url)
    with forked_trainer() as command:
        rig = Rig(settings, engine, build_storage(settings.storage_url), command)
        yield rig
        good = run(rig, dataset=pets)
        assert good.state is JobState.SUCCEEDED, good.failure
    engine.dispose()


def run(rig: Rig, **fields: Any) -> Job:
    body = spec(student=checkpoints.ARCHITECTURE, training={"epochs": 1, "batch_size": 4, "threads": 1}, exports=[])
    job_id = queued(rig.engine, spec={**body, **fields})
    rig.run(job_id)
    return job_of(rig.engine, job_id)


def assert_user_error(rig: Rig, job: Job, *codes: str) -> None:
    """Told as the user's own fault, once, and without a trace on the worker's disk."""
    failure = job.failure
    assert job.state is JobState.FAILED, job.state
    assert failure is not None
    assert (failure["origin"], failure["retryable"], job.attempt) == ("user", False, 1), failure
    assert failure["code"] in codes, failure
    assert 0 < len(failure["message"]) <= 2000
    assert all(character.isprintable() or character in "\n\t" for character in failure["message"])
    assert list((rig.settings.work_dir / "attempts").iterdir()) == []


@pytest.mark.parametrize("name", checkpoints.CASES)
def test_checkpoints(rig: Rig, folder: Path, pets: str, name: str) -> None:
    path, mark = folder / "data" / "teacher.pth", folder / "mark"
    checkpoints.CASES[name](path, mark)
    teacher = {"checkpoint": path.as_uri(), "architecture": checkpoints.ARCHITECTURE}
    job = run(rig, dataset=pets, method="kd", teacher=teacher)
    assert_user_error(rig, job, "bad_checkpoint", "architecture_mismatch", "bad_dataset", "bad_spec", "invalid_input")
    assert not mark.exists(), "code from the checkpoint was executed"


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
    assert sum(file.stat().st_size for file in (folder / "work").rglob("*") if file.is_file()) < 5 << 20


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
