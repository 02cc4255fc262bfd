"""`GET /comparisons`: scores on one split, groups of seeds, differences with intervals, and the verdict."""

from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import Engine

from api.comparisons.scores import scores
from api.jobs.schemas import JobOut
from tests.support.damaged import Damaged
from tests.support.runs import claim, succeed, train
from ttm_core.spec.damage.files import PREDICTIONS_FILE
from ttm_core.spec.damage.predictions import METADATA_KEY, Predictions, PredictionsInfo
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

UNKNOWN = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


def submit(client: TestClient, settings: Settings, **fields: object) -> str:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce", **fields}
    return str(client.post("/jobs", json=body).json()["id"])


def compare(client: TestClient, jobs: list[str], **params: str) -> dict[str, Any]:
    answer = client.get("/comparisons", params={"job": jobs, **params})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def finished(client: TestClient, settings: Settings) -> JobOut:
    """A job with validation and test accuracies."""
    job = JobOut.model_validate(client.get(f"/jobs/{submit(client, settings)}").json())
    result = {
        "student_validation": {"top1": 0.9},
        "teacher_validation": {"top1": 0.95},
        "student_test": {"top1": 0.72},
        "teacher_test": {"top1": 0.8},
    }
    return job.model_copy(update={"result": result})


def test_comparison_uses_the_test_split_if_every_job_has_it(finished: JobOut) -> None:
    queued = finished.model_copy(update={"result": None})
    found = scores([finished, finished, queued])
    assert found.split == "test"
    assert [score.student for score in found.by_job] == [0.72, 0.72, None]
    assert found.by_job[0].change_points == pytest.approx(-8)
    assert found.by_job[0].retention == pytest.approx(0.9)
    assert found.problem is None


def test_comparison_uses_validation_for_all_jobs_if_one_has_no_test_accuracy(finished: JobOut) -> None:
    running = finished.model_copy(update={"result": None, "metrics": {"validation/top1": 0.5, "teacher/top1": 0.95}})
    found = scores([finished, running])
    assert found.split == "validation"
    assert [(score.student, score.teacher) for score in found.by_job] == [(0.9, 0.95), (0.5, 0.95)]


def test_jobs_of_different_datasets_are_not_ranked(finished: JobOut) -> None:
    other = finished.model_copy(update={"dataset": "file:///data/other"})
    assert "different datasets" in (scores([finished, other]).problem or "")
    # A job without an accuracy does not matter.
    assert scores([finished, other.model_copy(update={"result": None})]).problem is None
    agreement = other.model_copy(
        update={"dataset": finished.dataset, "result": {"student_test": {"top1": 0.9, "against": "teacher"}}}
    )
    assert "agreement" in (scores([finished, agreement]).problem or "")


def test_jobs_that_differ_in_their_seed_are_a_group(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    accuracies = {("resnet18", 0): 0.90, ("resnet18", 1): 0.91, ("resnet34", 0): 0.80, ("resnet34", 1): 0.805}
    jobs = []
    for (student, seed), top1 in accuracies.items():
        jobs.append(submit(client, settings, student=student, name=f"{student} {seed}", training={"seed": seed}))
        succeed(engine, storage, claim(engine, jobs[-1]), test_top1=top1)
    found = client.get("/comparisons", params={"job": jobs}).json()
    first, second = found["groups"]
    assert (first["label"], first["jobs"], first["count"]) == ("resnet18", jobs[:2], 2)
    assert first["mean"] == pytest.approx(0.905)
    assert first["deviation"] == pytest.approx(0.00707, abs=1e-5)
    assert (found["baseline"], first["difference"]) == (0, None)
    # Pairs with equal seeds: -0.100 and -0.105.
    difference = second["difference"]
    assert (difference["method"], difference["count"], difference["shown"]) == ("paired_t", 2, True)
    assert difference["mean"] == pytest.approx(-0.1025)
    assert "resnet18 is the most accurate" in found["verdict"]
    assert {each["field"] for each in found["differences"]} == {"student.architecture", "training.seed"}

    pinned = client.get("/comparisons", params={"job": jobs, "baseline": jobs[3]}).json()
    assert pinned["baseline"] == 1
    assert pinned["groups"][0]["difference"]["mean"] == pytest.approx(0.1025)
    assert pinned["verdict"] == "More accurate than resnet34: resnet18."

    page = client.get("/ui/compare", params={"job": jobs}).text
    assert page.count("<tr data-group=") == 2
    assert "± 0.71" in page
    assert f'baseline={jobs[2]}"' in page


def test_runs_with_equal_seeds_count_once(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    runs = [
        ("resnet18", 0, 0.90),
        ("resnet18", 0, 0.92),
        ("resnet18", 1, 0.95),
        ("resnet34", 0, 0.8),
        ("resnet34", 0, 0.8),
    ]
    jobs = []
    for student, seed, top1 in runs:
        jobs.append(submit(client, settings, student=student, training={"seed": seed}))
        succeed(engine, storage, claim(engine, jobs[-1]), test_top1=top1)
    first, second = compare(client, jobs)["groups"]
    assert (first["count"], first["mean"]) == (2, pytest.approx(0.93))
    assert first["deviation"] == pytest.approx(0.0283, abs=1e-4)
    assert (second["count"], second["mean"], second["deviation"], second["difference"]) == (1, 0.8, None, None)
    rows = client.get("/ui/jobs?group=dataset").text
    assert rows.count("± 2.83") == 1
    assert "± 0.00" not in rows


def test_comparison_on_validation_has_no_differences_on_test_images(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    jobs = [submit(client, settings, student=student) for student in ("resnet18", "resnet34", "resnet50")]
    for job_id, right in zip(jobs, (9, 2), strict=False):
        succeed(engine, storage, claim(engine, job_id), test_top1=right / 10)
        record_predictions(engine, storage, job_id, [True] * right + [False] * (10 - right))
    found = compare(client, jobs)
    assert (found["split"], found["groups"][1]["difference"]["mean"]) == ("test", pytest.approx(-0.7))
    page = client.get("/ui/compare", params={"job": jobs}).text
    assert "10 images, paired bootstrap" in page

    train(engine, claim(engine, jobs[2]), range(1, 11))
    found = compare(client, jobs)
    assert (found["split"], [group["mean"] for group in found["groups"][:2]]) == ("validation", [0.9, 0.9])
    assert [group["difference"] for group in found["groups"]] == [None, None, None]
    assert "has the highest accuracy; its difference from" in found["verdict"]
    page = client.get("/ui/compare", params={"job": jobs}).text
    assert "vs. baseline" not in page


def test_single_runs_of_groups_are_compared_with_equal_seeds_in_any_order(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    jobs = []
    for student, seed, right in (("resnet18", 0, 9), ("resnet34", 1, 2), ("resnet34", 0, 5)):
        jobs.append(submit(client, settings, student=student, training={"seed": seed}))
        succeed(engine, storage, claim(engine, jobs[-1]), test_top1=right / 10)
        record_predictions(engine, storage, jobs[-1], [True] * right + [False] * (10 - right))
    jobs.append(submit(client, settings, student="resnet34", training={"seed": 2}))
    for order in ((0, 1, 2), (0, 2, 1), (0, 3, 1, 2)):
        found = compare(client, [jobs[index] for index in order])
        assert found["groups"][1]["difference"]["mean"] == pytest.approx(-0.4), order
    # Without a common seed, the first of each group.
    found = compare(client, [jobs[0], jobs[3], jobs[1]])
    assert found["groups"][1]["difference"]["mean"] == pytest.approx(-0.7)


def record_predictions(engine: Engine, storage: Storage, job_id: str, right: list[bool]) -> None:
    """Gives a job predictions on test images."""
    info = PredictionsInfo(split="test", against="labels", data="0" * 64, class_names=["a", "b"])
    student = np.array([0 if each else 1 for each in right], np.uint16)
    columns = {"label": np.zeros(len(right), np.uint16), "student": student}
    columns["student_probability"] = np.ones(len(right), np.float32)
    key = f"jobs/{job_id}/1/{PREDICTIONS_FILE}"
    stored = storage.put(key, [save(columns, {METADATA_KEY: info.model_dump_json()})])
    with session_scope(engine) as session:
        file = PublishedFile(PREDICTIONS_FILE, key, "application/octet-stream", stored.size, stored.sha256)
        artifacts.record(session, session.get_one(Job, job_id), [file])


def test_single_jobs_have_a_wilson_interval_and_no_verdict_without_predictions(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    jobs = [submit(client, settings, name=name, training={"epochs": epochs}) for name, epochs in (("a", 3), ("b", 4))]
    for job, top1 in zip(jobs, (0.8, 0.9), strict=True):
        succeed(engine, storage, claim(engine, job), test_top1=top1)
    found = client.get("/comparisons", params={"job": jobs}).json()
    # Wilson, 9 of 10 images.
    assert found["jobs"][1]["interval"] == pytest.approx([0.596, 0.982], abs=1e-3)
    assert found["groups"][0]["difference"] is None
    assert found["verdict"] == "b has the highest accuracy; its difference from a has no interval."


def test_one_group_has_no_rank(client: TestClient, engine: Engine, storage: Storage, settings: Settings) -> None:
    """It was said to be the only one with an accuracy."""
    jobs = [submit(client, settings, name="a", training={"seed": seed}) for seed in (1, 2)]
    for job in jobs:
        train(engine, lease := claim(engine, job), [1])
        succeed(engine, storage, lease)
    for ids in (jobs, [jobs[0], jobs[0]]):
        found = compare(client, ids)
        assert len(found["groups"]) == 1
        assert found["verdict"] == "a is the only group: these jobs differ at most in their seed."


def test_requests_are_checked(client: TestClient, settings: Settings) -> None:
    job = submit(client, settings)
    assert client.get("/comparisons", params={"job": [job]}).status_code == 422
    assert client.get("/comparisons", params={"job": [job] * 21}).status_code == 422
    for other in (UNKNOWN, "x", "../" * 20):
        assert client.get("/comparisons", params={"job": [job, other]}).status_code == 404
    refused = client.get("/comparisons", params={"job": [job, submit(client, settings)], "baseline": UNKNOWN})
    assert (refused.status_code, refused.json()["detail"]) == (422, "The baseline must be one of the compared jobs.")


@pytest.fixture(scope="module")
def api(damaged: Damaged) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=damaged.url, timeout=60) as client:
        yield client


def test_single_runs_are_compared_over_their_images(api: httpx2.Client, damaged: Damaged) -> None:
    jobs = [damaged.teacher, damaged.student]
    found = api.get("/comparisons", params={"job": jobs, "baseline": damaged.teacher}).json()
    difference = found["groups"][1]["difference"]
    teacher, student = (
        Predictions.from_bytes(api.get(f"/jobs/{job}/artifacts/predictions.safetensors").content) for job in jobs
    )
    right = [
        sum(guess == label for guess, label in zip(each.student.classes, each.labels, strict=True))
        for each in (teacher, student)
    ]
    assert (difference["method"], difference["count"]) == ("paired_bootstrap", len(teacher.labels))
    assert difference["mean"] == pytest.approx((right[1] - right[0]) / len(teacher.labels))
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert found["jobs"][1]["bytes"] > 0
    assert found["jobs"][1]["latency_ms"] <= found["jobs"][1]["latency_p90_ms"]


def test_jobs_on_other_images_have_no_interval(api: httpx2.Client, damaged: Damaged) -> None:
    found = api.get("/comparisons", params={"job": [damaged.student, damaged.elsewhere]}).json()
    assert all(group["difference"] is None for group in found["groups"])
