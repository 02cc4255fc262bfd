"""A job on unlabelled images, run by a worker with the real trainer."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.support.factories import job_of, queued, spec
from tests.support.models import create_model
from tests.support.rig import MakeRig
from tests.ttm_core.data.formats import png, sample
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.states import JobState


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only: the tested behaviour is in the trainer."""
    return sqlite_url


def test_unlabelled_job_succeeds_and_reports_its_evaluation_basis(
    make_rig: MakeRig, forked_trainer_command: Sequence[str], tmp_path: Path
) -> None:
    rig = make_rig(forked_trainer_command, lease_seconds=60.0)
    images = tmp_path / "data/images"
    images.mkdir()
    for number, pixels in enumerate(sample(16)[0]):
        (images / f"{number:02}.png").write_bytes(png(pixels))
    more = tmp_path / "data/more.zip"
    with zipfile.ZipFile(more, "w") as archive:
        for number, pixels in enumerate(sample(8, start=8)[0]):
            archive.writestr(f"2020/{number}.png", png(pixels))
    teacher = tmp_path / "data/teacher.safetensors"
    save_file(create_model("mini/resnet8_025", num_classes=3).state_dict(), teacher)
    body = spec(
        dataset={"uri": images.as_uri(), "unlabelled": [more.as_uri()]},
        student="mini/resnet8_025",
        teacher={"checkpoint": teacher.as_uri(), "architecture": "mini/resnet8_025"},
        method={"kind": "wttm", "ce_weight": 0},
        training={"epochs": 1, "batch_size": 8, "threads": 1},
        exports=[],
    )
    job_id = queued(rig.engine, spec=body)
    rig.run(job_id)
    job: Job = job_of(rig.engine, job_id)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.result is not None
    assert job.result["student_validation"]["against"] == "teacher"
    assert job.latest["validation/agreement"] == job.result["student_validation"]["top1"]
    with read_scope(rig.engine) as session:
        report = json.loads(rig.read(artifacts.get(session, job_id, "report.json").key))
    assert report["run"]["unlabelled_images"] == report["run"]["train_images"] == 15 + 8 - 1
    assert [entry["name"] for entry in report["validation"]["classes"]] == ["0", "1", "2"]
