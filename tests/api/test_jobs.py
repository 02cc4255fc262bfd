"""Jobs over HTTP, on both databases."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from tests.support.runs import STUDENT_SHA256, claim, fail, succeed, train
from tests.support.statements import is_read_of_request, statements
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import OutboxMessage
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


@pytest.fixture
def body(client: TestClient, settings: Settings) -> dict[str, Any]:
    """Three strings that the service accepts."""
    upload = client.post("/uploads", content=b"weights").json()
    return {"teacher": upload["uri"], "student": "resnet18", "dataset": settings.data_roots[0].as_uri()}


def submit(client: TestClient, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = client.post("/jobs", json={**body, **more})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_job_of_three_strings_has_a_complete_spec(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    answer = client.post("/jobs", json=body)
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["spec"]["teacher"]["checkpoint"] == body["teacher"]
    assert job["spec"]["method"].items() >= {"kind": "wttm", "beta": 2.0, "gamma": 0.2, "temperature": 5.0}.items()
    assert (job["spec"]["training"]["epochs"], job["spec"]["training"]["schedule"]["kind"]) == (None, "cosine")
    assert [entry["value"] for entry in job["history"]] == ["queued"]
    assert client.get(answer.headers["location"]).json() == job
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(OutboxMessage)) == 1, "the wake-up message is pending"


def test_pages_are_newest_first_and_complete(client: TestClient, body: dict[str, Any]) -> None:
    made = [submit(client, body, name=f"job {number}")["id"] for number in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [job["id"] for job in page["items"]]
        # A job submitted between two pages does not shift them.
        submit(client, body)
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == made[::-1]


def test_list_is_filtered_by_states(client: TestClient, body: dict[str, Any]) -> None:
    kept, cancelled = submit(client, body)["id"], submit(client, body)["id"]
    client.post(f"/jobs/{cancelled}/cancel")
    states = lambda *names: [job["id"] for job in client.get("/jobs", params={"state": names}).json()["items"]]  # noqa: E731
    assert states("queued") == [kept]
    assert states("cancelled") == [cancelled]
    assert states("queued", "cancelled") == [cancelled, kept]
    assert states("failed") == []


def test_running_job_shows_progress_metrics_and_accuracy_change(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    job_id = submit(client, body)["id"]
    train(engine, claim(engine, job_id), range(1, 6))
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["phase"], job["attempt"]) == ("running", "training", 1)
    assert job["progress"] == {
        "step": 5,
        "total_steps": 100,
        "fraction": 0.05,
        "epoch": 1,
        "epochs": 1,
        "images_per_second": 50.0,
        "eta_seconds": 95.0,
    }
    assert job["metrics"]["train/loss"] == pytest.approx(0.2)
    assert job["accuracy"]["split"] == "validation"
    assert job["accuracy"]["change_points"] == pytest.approx((5 / 110 - 0.95) * 100, abs=1e-4)
    assert [entry["value"] for entry in job["history"]] == ["queued", "running", "training"]
    assert job["links"]["student"] is None
    assert job["links"]["cancel"] == f"/jobs/{job_id}/cancel"


def test_succeeded_job_shows_result_and_artifacts(
    client: TestClient, engine: Engine, storage: Storage, body: dict[str, Any]
) -> None:
    job_id = submit(client, body)["id"]
    succeed(engine, storage, claim(engine, job_id))
    job = client.get(f"/jobs/{job_id}").json()
    assert job["state"] == "succeeded"
    assert job["accuracy"] == {
        "split": "test",
        "against": "labels",
        "teacher": 0.91,
        "student": 0.88,
        "change_points": pytest.approx(-3.0),
        "retention": pytest.approx(0.88 / 0.91, abs=1e-6),
        "interval": [pytest.approx(0.57346), pytest.approx(0.97561)],
    }
    assert [file["name"] for file in job["artifacts"]] == ["student.safetensors", "trainer.log"]
    assert job["artifacts"][0]["sha256"] == STUDENT_SHA256
    assert client.get(f"/jobs/{job_id}/artifacts").json()["items"] == job["artifacts"]
    assert (job["links"]["cancel"], job["links"]["student"]) == (None, f"/jobs/{job_id}/student")
    assert client.get(job["links"]["log"]).text == "step 1\n"


def test_submission_takes_seven_reads(client: TestClient, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    client.get("/jobs")  # caches whether keys are required
    with statements(Engine, is_read_of_request) as reads:
        made = client.post("/jobs", json=body).json()
    # Project sources and limits, queued jobs, stored bytes, time, webhooks and workers.
    assert len(reads) == 7, reads
    assert client.get(f"/jobs/{made['id']}").json() == made


def test_failure_has_code_origin_and_next_step(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    job_id = submit(client, body)["id"]
    fail(engine, claim(engine, job_id))
    failure = client.get(f"/jobs/{job_id}").json()["failure"]
    assert failure.pop("next_step").startswith("Fix the dataset")
    assert failure == {"code": "bad_dataset", "message": "No images.", "origin": "user", "retryable": False}


def test_cancel_is_idempotent_unless_the_job_finished(
    client: TestClient, engine: Engine, storage: Storage, body: dict[str, Any]
) -> None:
    waiting, held, done = (submit(client, body)["id"] for _ in range(3))
    claim(engine, held)
    succeed(engine, storage, claim(engine, done))
    for _ in range(2):
        assert client.post(f"/jobs/{waiting}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/jobs/{held}/cancel").json()["state"] == "cancelling"
    refusal = client.post(f"/jobs/{done}/cancel")
    assert (refusal.status_code, refusal.json()["code"]) == (409, "job_not_cancellable")


def test_pause_resume_and_retry(client: TestClient, body: dict[str, Any]) -> None:
    job_id = submit(client, body)["id"]
    assert client.post(f"/jobs/{job_id}/resume").json()["code"] == "job_not_resumable"
    assert client.post(f"/jobs/{job_id}/pause").json()["state"] == "paused"
    assert client.post(f"/jobs/{job_id}/resume").json()["state"] == "queued"
    assert client.post(f"/jobs/{job_id}/retry").json()["code"] == "job_not_retryable"
    client.post(f"/jobs/{job_id}/cancel")
    again = client.post(f"/jobs/{job_id}/retry")
    assert again.status_code == 201
    assert again.json()["retry_of"] == job_id
    assert again.headers["location"] == f"/jobs/{again.json()['id']}"


def test_metrics_are_ordered_by_step_and_paged(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    job_id = submit(client, body)["id"]
    train(engine, claim(engine, job_id), range(1, 8))
    first = client.get(f"/jobs/{job_id}/metrics", params={"limit": 4}).json()
    assert [point["step"] for point in first["items"]] == [1, 2, 3, 4]
    assert set(first["items"][0]["values"]) == {"train/loss", "validation/top1"}
    rest = client.get(
        f"/jobs/{job_id}/metrics", params={"after_step": first["next_after_step"], "name": "train/loss"}
    ).json()
    assert [(point["step"], list(point["values"])) for point in rest["items"]] == [
        (step, ["train/loss"]) for step in (5, 6, 7)
    ]
    assert (first["has_more"], rest["has_more"], rest["next_after_step"]) == (True, False, None)


def test_student_of_a_job_can_be_the_teacher_of_another(
    client: TestClient, engine: Engine, storage: Storage, body: dict[str, Any]
) -> None:
    first = submit(client, body)["id"]
    refusal = client.post("/jobs", json={**body, "teacher": f"job:{first}"})
    assert (refusal.status_code, refusal.json()["code"]) == (409, "job_not_finished")
    succeed(engine, storage, claim(engine, first))
    assert submit(client, body, teacher=f"job:{first}")["teacher"] == f"job:{first}"


def test_refused_submission_writes_nothing(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    with session_scope(engine) as session:
        before = session.scalar(select(func.count()).select_from(OutboxMessage))
    client.post("/jobs", json={**body, "student": "resnet999999"})
    with session_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(OutboxMessage)) == before
    assert client.get("/jobs").json()["items"] == []
