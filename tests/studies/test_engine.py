"""A whole study with the real engine: API, dispatcher and worker on scikit-learn's digits."""

import hashlib
from pathlib import Path

import pytest

from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.stack import Stack
from tests.support.studies import jobs_of
from tests.ttm_core import factories
from ttm_client import Client
from ttm_core.pipeline.distill import distill
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import RunOptions
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import JobKind

STUDENTS = ["mini/resnet8_025", "mini/resnet8_050", "mini/resnet8_100"]
EPOCHS = 3


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that the engine trained on more digits than its students see."""
    data = factories.digits_idx(tmp_path_factory.mktemp("all-digits"), train=600)
    workdir = tmp_path_factory.mktemp("teacher")
    training = {"epochs": 3, "augmentation": "none"}
    distill(factories.spec(data, student="mini/resnet8_100", training=training), workdir)
    return workdir / "out" / "student.safetensors"


@pytest.mark.thorough
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_study_of_digits_from_its_limits_to_its_student(stack: Stack, teacher: Path, tmp_path: Path) -> None:
    dataset = factories.digits_idx(stack.data / "digits", train=400)
    checkpoint = stack.data / "teacher.safetensors"
    checkpoint.write_bytes(teacher.read_bytes())
    settings = make_settings(str(stack.settings["database_url"]), tmp_path).model_copy(
        update={"data_roots": (stack.data,), "storage_url": str(stack.settings["storage_url"])}
    )
    stack.start_dispatcher()
    stack.start_worker("worker")
    with served(settings) as url, Client(url) as client:
        study = client.studies.create(
            name="digits",
            teacher={"checkpoint": checkpoint.as_uri(), "allow_chance": True},
            dataset=dataset.as_uri(),
            limits={"accuracy": 0.05, "bytes": 400_000, "latency_ms": 1000, "precision": "fp32"},
            goal="most_accurate",
            students=STUDENTS,
            training={"epochs": EPOCHS, "batch_size": 32, "threads": 1, "views": 2, "augmentation": "none"},
            seeds=1,
            baseline=False,
            exports=["onnx"],
        )
        ended = client.studies.wait(study.id, interval=0.5)
        assert ended.state == "succeeded", (ended.failure, ended.blocked_reason)
        candidates = client.studies.candidates(study.id)
        assert [len(candidate.files) for candidate in candidates] == [2, 2, 2]
        assert all(file["latency_ms"] > 0 for candidate in candidates for file in candidate.files)
        assert client.studies.replay(study.id).agrees
        found = client.studies.recommendation(study.id)
        assert found.meets_limits
        assert found.bytes <= 400_000
        path = client.studies.download_student(study.id, tmp_path / "student.safetensors")
        recommended = hashlib.sha256(path.read_bytes()).hexdigest()

    jobs = jobs_of(stack.engine, study.id)
    finals = [job for job in jobs if job.kind is JobKind.DISTILL and job.state is JobState.SUCCEEDED]
    assert {(job.candidate, job.study_seed, job.baseline) for job in finals} == {
        (number, 0, False) for number in ended.finalists
    }
    # The test split is evaluated in complete runs only: other trials stopped before.
    assert all(job.result is None for job in jobs if job not in finals)
    # One teacher pass: 360 training images in one view without augmentation, and no trial ran the teacher again.
    costs = ended.result["costs"] if ended.result else {}
    assert costs["teacher_forwards"] == 360
    assert all(job.result["teacher_forwards"] == 0 for job in finals if job.result)
    assert costs["teacher_cache_hits"] >= 360 * EPOCHS

    # The student that paused at the end of its rung equals that of an uninterrupted run of the same spec.
    promoted = finals[0]
    assert promoted.rung_accuracies
    whole = tmp_path / "whole"
    distill(DistillSpec.model_validate(promoted.resolved_spec), whole, options=RunOptions(record_correct=True))
    with read_scope(stack.engine) as session:
        sha256 = {job.id: artifacts.get(session, job.id, artifacts.STUDENT).sha256 for job in finals}
    assert sha256[promoted.id] == hashlib.sha256((whole / "out" / "student.safetensors").read_bytes()).hexdigest()
    assert recommended in sha256.values()
