"""Priority, attempts, deadline, queue and device memory of a job."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.app import create_app
from tests.api.conftest import ON_SQLITE
from tests.support.factories import NO_TIME, job_of
from tests.support.runs import claim, fail, train
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Attempt
from ttm_jobs.repositories.jobs import control, leases, lifecycle
from ttm_jobs.repositories.jobs.transitions import locked
from ttm_jobs.settings import Settings


@pytest.fixture
def body(settings: Settings) -> dict[str, Any]:
    return {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}


def test_run_time_is_without_pauses(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    job_id = client.post("/jobs", json=body).json()["id"]
    assert shown(client, job_id) == (0.0, None, "\N{EN DASH}")
    lease = claim(engine, job_id)
    _, current, _ = shown(client, job_id)
    assert current is not None
    with session_scope(engine) as session:
        # It started three minutes ago, and is paused now.
        leases.fence(session, lease)
        attempt = session.get_one(Attempt, (job_id, lease.epoch))
        attempt.started_at -= timedelta(minutes=3)
        control.request_pause(session, job_id)
    with session_scope(engine) as session:
        lifecycle.released(session, leases.fence(session, lease), reason="paused")
    seconds, current, text = shown(client, job_id)
    assert seconds == pytest.approx(180, abs=30)
    assert (current, text[:5]) == (None, "3 min")
    with session_scope(engine) as session:
        # The pause takes an hour.
        job = locked(session, job_id)
        assert job.started_at is not None
        job.started_at -= timedelta(hours=1)
        control.resume(session, job_id)
    fail(engine, claim(engine, job_id))
    assert shown(client, job_id)[2].startswith("3 min")


def shown(client: TestClient, job_id: str) -> tuple[float, str | None, str]:
    """The duration of the ended attempts, the start of the current one, and the run time on the page."""
    job = client.get(f"/jobs/{job_id}").json()
    text = re.search(r"<dt>Run time</dt><dd>([^<]+)</dd>", client.get(f"/ui/jobs/{job_id}").text)
    assert text is not None
    return job["device_seconds"], job["attempt_started_at"], text[1]


def test_attempt_has_its_worker_steps_and_cause(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    job = client.post("/jobs", json=body).json()
    assert client.get(job["links"]["attempts"]).json() == {"items": []}
    train(engine, claim(engine, job["id"]), range(1, 6))
    with session_scope(engine) as session:
        locked(session, job["id"]).lease_until = now(session)
        leases.expire(session, backoff=NO_TIME)
    fail(engine, claim(engine, job["id"]))
    lost, failed = client.get(job["links"]["attempts"]).json()["items"]
    assert (lost["number"], lost["outcome"], lost["to_step"]) == (1, "lost", 5)
    assert (lost["cause"]["code"], lost["cause"]["origin"], lost["cause"]["retryable"]) == (
        "worker_lost",
        "system",
        True,
    )
    assert lost["worker"]
    assert lost["started_at"] <= lost["ended_at"] <= failed["started_at"]
    assert (failed["number"], failed["outcome"], failed["from_step"]) == (2, "failed", None)
    assert failed["cause"].pop("next_step").startswith("Fix the dataset")
    assert failed["cause"] == {"code": "bad_dataset", "message": "No images.", "origin": "user", "retryable": False}


def test_attempts_of_an_unknown_job_are_not_found(client: TestClient) -> None:
    answer = client.get("/jobs/01a208f9-4f21-7689-b112-a58ab3238037/attempts")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_client_sets_priority_max_attempts_and_deadline(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/jobs", json={**body, "priority": 9, "max_attempts": 7, "deadline": 3600}).json()
    assert (job["priority"], job["max_attempts"]) == (9, 7)
    until = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert until == timedelta(hours=1)
    assert not {"priority", "max_attempts", "deadline"} & set(job["spec"])
    plain = client.post("/jobs", json=body).json()
    assert (plain["priority"], plain["max_attempts"], plain["deadline_at"]) == (5, Settings().max_attempts, None)


def test_deadline_can_have_any_time_zone(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/jobs", json={**body, "deadline": "2099-01-01T12:00:00+05:30"}).json()
    assert datetime.fromisoformat(job["deadline_at"]) == datetime(2099, 1, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "deadline",
    ["2001-01-01T00:00:00Z", "2099-01-01T12:00:00", "9999-12-31T23:59:59-12:00", "soon", "3600", 0, -1, 1e12, True],
)
@ON_SQLITE
def test_invalid_deadlines_are_refused(client: TestClient, body: dict[str, Any], deadline: object) -> None:
    answer = client.post("/jobs", json={**body, "deadline": deadline})
    assert answer.status_code == 422, answer.text
    assert {error["pointer"].split("/")[1] for error in answer.json()["errors"]} == {"deadline"}
    assert client.get("/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("field", "value"), [("priority", 10), ("priority", -1), ("max_attempts", 0), ("max_attempts", 101)]
)
@ON_SQLITE
def test_numbers_out_of_range_are_refused(client: TestClient, body: dict[str, Any], field: str, value: int) -> None:
    answer = client.post("/jobs", json={**body, field: value})
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]


def test_job_has_a_queue_and_required_device_memory(settings: Settings, body: dict[str, Any], engine: Engine) -> None:
    with TestClient(create_app(settings.model_copy(update={"queues": ("cpu", "gpu")}))) as client:
        assert client.post("/jobs", json=body).json()["queue"] == "cpu"
        job = client.post("/jobs", json={**body, "queue": "gpu", "device_memory_bytes": 2**34}).json()
        assert job["queue"] == "gpu"
        assert job_of(engine, job["id"]).device_memory_bytes == 2**34
        answer = client.post("/jobs", json={**body, "queue": "gpus"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_queue")
        [error] = answer.json()["errors"]
        assert (error["pointer"], error["detail"]) == (
            "/queue",
            "There is no queue 'gpus'. The queues are 'cpu', 'gpu'.",
        )
