"""Studies through the API, with a dispatcher's decisions made in the test and jobs ended through the repositories."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.conftest import ON_SQLITE
from tests.support.factories import claimed, queued
from tests.support.measuring import measured
from tests.support.studies import advance, jobs_of
from tests.support.study_jobs import end_job, end_jobs
from ttm_core.spec import catalogue
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Job, MeasurementRequest, Study
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs.transitions import enqueue_study
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage

STUDENTS = ["cifar/resnet8", "cifar/resnet14", "cifar/resnet20", "cifar/resnet32"]


@pytest.fixture
def body(settings: Settings) -> dict[str, Any]:
    """A small study."""
    folder = settings.data_roots[0]
    (folder / "teacher.safetensors").write_bytes(b"x")
    return {
        "teacher": (folder / "teacher.safetensors").as_uri(),
        "dataset": folder.as_uri(),
        "limits": {"retention": 0.5},
        "students": STUDENTS,
        "training": {"epochs": 9},
        "seeds": 2,
    }


def run_to_end(client: TestClient, engine: Engine, study_id: str) -> dict[str, Any]:
    for _ in range(50):
        advance(engine)
        study: dict[str, Any] = client.get(f"/studies/{study_id}").json()
        if study["finished_at"] is not None:
            return study
        assert end_jobs(engine, study_id), "the study waits for nothing"
    raise AssertionError("the study does not end")


def pass_deadline(engine: Engine, study_id: str) -> None:
    with session_scope(engine) as session:
        session.get_one(Study, study_id).deadline_at = now(session)
        enqueue_study(session, study_id, now(session))


@pytest.mark.parametrize("kind", ["screen", "teacher", "distill"])
def test_only_jobs_that_train_a_student_can_be_retried(
    client: TestClient, engine: Engine, body: dict[str, Any], kind: str
) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    advance(engine)
    while not (found := [job for job in jobs_of(engine, study_id) if job.kind == kind]):
        assert end_jobs(engine, study_id), "the study waits for nothing"
        advance(engine)
    job_id = found[0].id
    assert client.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    link = client.get(f"/jobs/{job_id}").json()["links"]["retry"]
    answer = client.post(f"/jobs/{job_id}/retry")
    if kind == "distill":
        assert (answer.status_code, link) == (201, f"/jobs/{job_id}/retry")
        assert (answer.json()["kind"], answer.json()["study"]) == ("distill", None)
    else:
        assert (answer.status_code, answer.json()["code"], link) == (409, "job_not_retryable", None)


def test_a_study_from_its_submission_to_its_recommendation(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    created = client.post("/studies", json={**body, "name": "kiosk", "tags": ["b", "a"]})
    assert created.status_code == 201, created.text
    study = created.json()
    assert created.headers["Location"] == study["links"]["self"] == f"/studies/{study['id']}"
    assert (study["state"], study["stage"], study["goal"], study["tags"]) == (
        "running",
        "screen",
        "smallest",
        ["a", "b"],
    )
    assert study["spec"]["method"]["kind"] == "wttm"
    assert client.get(study["links"]["self"] + "/recommendation").json()["code"] == "study_not_finished"

    ended = run_to_end(client, engine, study["id"])
    assert ended["state"] == "succeeded", ended["failure"]
    recommendation = client.get(study["links"]["self"] + "/recommendation").json()
    assert recommendation == ended["recommendation"] == ended["result"]["recommendation"]
    assert recommendation["meets_limits"]
    assert ended["links"]["student"] == f"/jobs/{recommendation['job']}/student"
    front = client.get(study["links"]["self"] + "/front").json()["items"]
    assert front == ended["result"]["front"]
    assert ended["result"]["baseline"]["runs"] == 2

    replay = client.get(study["links"]["self"] + "/replay").json()
    assert replay["agrees"], replay

    candidates = client.get(study["links"]["candidates"]).json()["items"]
    assert [row["label"] for row in candidates] == STUDENTS
    assert all(row["files"] for row in candidates)
    chosen = candidates[recommendation["candidate"] - 1]
    assert {job["baseline"] for job in chosen["jobs"]} == {True, False}
    assert recommendation["job"] in {job["job"] for job in chosen["jobs"]}

    jobs = client.get(study["links"]["jobs"], params={"limit": 200}).json()["items"]
    assert {job["kind"] for job in jobs} == {"screen", "teacher", "distill"}
    assert all(job["study"]["id"] == study["id"] and job["tags"] == ["a", "b"] for job in jobs)
    assert next(job["study"]["candidate"] for job in jobs if job["kind"] == "screen") is None
    listed = client.get("/studies").json()["items"]
    assert [row["id"] for row in listed] == [study["id"]]
    assert client.get("/studies", params={"state": "running"}).json()["items"] == []
    both = client.get("/studies", params={"state": ["running", "succeeded", "succeeded"]}).json()["items"]
    assert [row["id"] for row in both] == [study["id"]]


def test_a_replay_that_disagrees_says_so(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    run_to_end(client, engine, study_id)
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        study.decisions = {**study.decisions, "finalists": [4, 2]}
    assert not client.get(f"/studies/{study_id}/replay").json()["agrees"]


def test_events_are_streamed_and_resumed(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    # More candidates than finalists.
    study_id = client.post("/studies", json={**body, "search": {"method.beta": [1, 2]}}).json()["id"]
    run_to_end(client, engine, study_id)
    with client.stream("GET", f"/studies/{study_id}/events") as response:
        kinds = [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event: ")]
    assert kinds[0] == "state"
    assert kinds[-2:] == ["result", "state"]
    assert {"stage", "rung", "rejected", "finalists"} <= set(kinds)
    resumed = client.get(f"/studies/{study_id}/events", headers={"Last-Event-ID": str(len(kinds) - 1)})
    assert resumed.text.count("event: ") == 1
    assert client.get(f"/studies/{study_id}/events", headers={"Last-Event-ID": str(len(kinds))}).status_code == 204
    assert client.get("/studies/01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10/events").status_code == 404


def test_pause_resume_cancel_and_delete(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study = client.post("/studies", json=body).json()
    path = study["links"]["self"]
    advance(engine)
    assert client.post(f"{path}/resume").json()["code"] == "study_not_resumable"
    paused = client.post(f"{path}/pause").json()
    assert (paused["state"], paused["links"]["pause"], paused["links"]["resume"]) == ("paused", None, f"{path}/resume")
    assert {job["state"] for job in client.get(study["links"]["jobs"]).json()["items"]} == {"paused"}
    assert client.post(f"{path}/resume").json()["state"] == "running"
    advance(engine)
    assert {job["state"] for job in client.get(study["links"]["jobs"]).json()["items"]} == {"queued"}
    assert client.delete(path).json()["code"] == "study_not_deletable"
    (screen,) = client.get(study["links"]["jobs"]).json()["items"]
    assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{path}/cancel").status_code == 200
    assert client.post(f"{path}/pause").json()["code"] == "study_not_pausable"
    assert client.get(f"/jobs/{screen['id']}").json()["state"] == "cancelled"
    assert client.delete(path).status_code == 204
    assert client.get(path).json()["code"] == "study_not_found"
    assert client.get(f"/jobs/{screen['id']}").status_code == 404


def test_a_finished_study_cannot_be_cancelled(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    run_to_end(client, engine, study_id)
    assert client.post(f"/studies/{study_id}/cancel").json()["code"] == "study_not_cancellable"


def test_limits_that_nothing_meets_name_the_nearest_candidates(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    study_id = client.post("/studies", json={**body, "limits": {"bytes": 1000, "retention": 0.5}}).json()["id"]
    study = run_to_end(client, engine, study_id)
    assert (study["state"], study["failure"]["code"]) == ("failed", "limits_unmet")
    nearest = study["failure"]["nearest"][0]
    assert (nearest["candidate"], nearest["precision"]) == (1, "int8")
    message = "its size of 83,892 bytes is above the limit of 1,000 bytes"
    assert nearest["misses"] == [{"limit": "bytes", "allowed": 1000, "value": 83892, "message": message}]
    assert f"cifar/resnet8 (int8): {message}" in study["failure"]["message"]


@ON_SQLITE
def test_a_candidate_whose_only_fitting_file_is_not_exported_is_not_trained(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    created = client.post("/studies", json=body | {"limits": {"bytes": 1}, "screen_only": True}).json()
    run_to_end(client, engine, created["id"])
    (files,) = [each["files"] for each in client.get(f"/studies/{created['id']}/candidates").json()["items"][:1]]
    size = {file["precision"]: file["bytes"] for file in files}
    assert size["int8"] < size["fp32"]
    limits = {"limits": {"bytes": size["int8"]}, "students": STUDENTS[:1]}
    for narrowed in ({"exports": ["onnx"]}, {"quantize": {"mode": "none"}}):
        created = client.post("/studies", json={**body, **limits, **narrowed}).json()
        study = run_to_end(client, engine, created["id"])
        assert study["state"] == "failed"
        assert study["failure"]["code"] == "limits_unmet"
    created = client.post("/studies", json={**body, **limits}).json()
    assert run_to_end(client, engine, created["id"])["recommendation"]["precision"] == "int8"


def test_a_job_of_a_running_study_cannot_be_deleted(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study = client.post("/studies", json=body).json()
    advance(engine)
    end_jobs(engine, study["id"])
    (screen,) = client.get(study["links"]["jobs"]).json()["items"]
    assert screen["state"] == "succeeded"
    assert client.delete(f"/jobs/{screen['id']}").json()["code"] == "job_not_deletable"


@ON_SQLITE
def test_a_quota_blocks_the_study_with_its_reason(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    with session_scope(engine) as session:
        projects.ensure(session, "default").max_queued_jobs = 0
    advance(engine)
    study = client.get(f"/studies/{study_id}").json()
    assert study["blocked_reason"] == "The project is at its limit of 0 queued jobs."
    assert client.post("/studies", json=body).json()["code"] == "quota_exceeded"
    with session_scope(engine) as session:
        projects.ensure(session, "default").max_queued_jobs = None


def test_a_study_that_cannot_be_advanced_says_so_until_it_can(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        plan, study.plan = study.plan, {key: value for key, value in study.plan.items() if key != "goal"}
    advance(engine)
    with read_scope(engine) as session:
        found = session.get_one(Study, study_id)
        assert (found.state, found.finished_at) == ("running", None)
        assert "(TypeError) and tries again every 5 seconds" in (found.blocked_reason or "")
    with session_scope(engine) as session:
        session.get_one(Study, study_id).plan = plan
        enqueue_study(session, study_id, now(session))
    advance(engine)
    assert client.get(f"/studies/{study_id}").json()["blocked_reason"] is None
    assert run_to_end(client, engine, study_id)["state"] == "succeeded"


def test_a_study_whose_jobs_cannot_be_valid_fails(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    advance(engine)
    end_jobs(engine, study_id)
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        # As if an earlier version had accepted it.
        study.spec = {**study.spec, "training": {**study.spec["training"], "batch_size": 1}}
    advance(engine)
    failed = client.get(f"/studies/{study_id}").json()
    assert (failed["state"], failed["failure"]["code"]) == ("failed", "invalid_spec")
    assert "training.batch_size: Input should be greater than or equal to 2" in failed["failure"]["message"]
    assert (failed["blocked_reason"], failed["failure"]["nearest"]) == (None, [])


@ON_SQLITE
def test_jobs_of_studies_yield_to_others_of_equal_priority(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    advance(engine)
    later = queued(engine)
    order = [job["id"] for job in client.get("/queue/jobs").json()["items"]]
    (screen,) = [job["id"] for job in client.get("/jobs", params={"study": study_id}).json()["items"]]
    assert order == [later, screen]
    urgent = client.post("/studies", json={**body, "priority": 6}).json()["id"]
    advance(engine)
    (first,) = [job["id"] for job in client.get("/jobs", params={"study": urgent}).json()["items"]]
    assert [job["id"] for job in client.get("/queue/jobs").json()["items"]] == [first, later, screen]


@ON_SQLITE
def test_a_repeated_request_creates_one_study(client: TestClient, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (client.post("/studies", json=body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(client.get("/studies").json()["items"]) == 1


@ON_SQLITE
def test_validation_creates_nothing(client: TestClient, body: dict[str, Any]) -> None:
    found = client.post("/studies/validate", json={**body, "search": {"method.beta": [1, 2]}}).json()
    assert found["rungs"] == [3]
    assert [row["label"] for row in found["candidates"]][:2] == ["cifar/resnet8, beta 1", "cifar/resnet8, beta 2"]
    assert found["candidates"][0]["parameters"] == 83892
    students = [
        {"architecture": "cifar/resnet8", "initialize": "teacher"},
        {"prune": {"macs": 0.25, "importance": "taylor", "steps": 3}},
        {"architecture": "resnet18", "checkpoint": "timm:resnet18.a1_in1k", "freeze": ["layer1.*"], "image_size": 64},
    ]
    search = {"training.optimizer.learning_rate": [0.1]}
    described = client.post("/studies/validate", json={**body, "students": students, "search": search}).json()
    assert [row["label"] for row in described["candidates"]] == [
        "cifar/resnet8, weights of the teacher, learning rate 0.1",
        "teacher pruned to 25 % of its MACs, taylor importance, in 3 steps, learning rate 0.1",
        "resnet18, weights of timm:resnet18.a1_in1k, 64 px, layer1.* frozen, learning rate 0.1",
    ]
    # A rung of three epochs, then four finalists and the baseline with two seeds each.
    assert found["most_epochs"] == 8 * 3 + (4 + 1) * 2 * 9
    assert client.get("/studies").json()["items"] == []


@ON_SQLITE
@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"limits": {}}, "/limits", "at least one of"),
        ({"limits": {"latency_ms": 1, "device": "my pi"}}, "/limits/device", "match"),
        ({"goal": "fastest", "limits": {"bytes": 1_000_000}}, "/goal", "requires limits.retention"),
        ({"students": ["cifar/resnet21"]}, "/students/0/architecture", "Did you mean"),
        ({"students": ["resnet18", {"family": "nothing*"}]}, "/students/1/family", "No architecture matches"),
        ({"students": "all"}, "/students", "'all' is not"),
        ({"search": {"training.epochs": [1]}}, "/search", "cannot vary"),
        ({"dataset": "file:///elsewhere"}, "/dataset/uri", ""),
        ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline", "past"),
        ({"queue": "nowhere"}, "/queue", "no queue"),
        ({"training": {"epochs": 1}}, "/training", "at least 3"),
        ({"search": {"training.batch_size": {"linear": [8, 64]}}}, "/search", "list the values instead"),
        (
            {"search": {"training.batch_size": [8, 64], "training.gradient_accumulation": [1, 8]}},
            "/search",
            "'cifar/resnet8, batch size 8, gradient accumulation 8' is not valid: training: batch_size must",
        ),
        (
            {"method": "dkd", "training": {"epochs": 9, "unlabelled_ratio": 1}},
            "",
            "unlabelled_ratio is not supported by",
        ),
        ({"nothing": 1}, "/nothing", "No such field"),
    ],
)
def test_errors_name_the_field(
    client: TestClient, body: dict[str, Any], fields: dict[str, Any], pointer: str, words: str
) -> None:
    for path in ("/studies", "/studies/validate"):
        response = client.post(path, json={**body, **fields})
        assert response.status_code == 422, response.text
        (error,) = response.json()["errors"]
        assert error["pointer"] == pointer
        assert words in error["detail"]


@ON_SQLITE
def test_a_study_past_its_deadline_fails(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    study_id = client.post("/studies", json={**body, "deadline": 3600}).json()["id"]
    advance(engine)
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        study.deadline_at = study.created_at + timedelta(microseconds=1)
    end_jobs(engine, study_id)
    study = run_to_end(client, engine, study_id)
    assert study["failure"]["code"] == "deadline_exceeded"


def until(client: TestClient, engine: Engine, study_id: str, stage: str) -> dict[str, Any]:
    """Advances a study to a stage."""
    advance(engine)
    while (study := client.get(f"/studies/{study_id}").json())["stage"] != stage:
        assert end_jobs(engine, study_id)
        advance(engine)
    return dict(study)


@ON_SQLITE
def test_a_study_keeps_what_it_decided_before_its_deadline(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    request = {**body, "search": {"method.beta": [1, 2]}, "deadline": 3600}
    study_id = client.post("/studies", json=request).json()["id"]
    before = until(client, engine, study_id, "finals")
    final = next(job for job in jobs_of(engine, study_id) if job.state is JobState.QUEUED)
    end_job(engine, final)
    pass_deadline(engine, study_id)
    advance(engine)
    ended = client.get(f"/studies/{study_id}").json()
    assert (ended["state"], ended["finalists"]) == ("succeeded", [final.candidate])
    assert (len(ended["selected"]), ended["selected"], ended["rungs"]) == (8, before["selected"], before["rungs"])
    assert ended["result"]["candidates_tried"] == 8
    # The finalist was trained to the end; the others were trained for three epochs instead of nine.
    assert ended["result"]["costs"]["epochs_saved"] == 7 * 9 - 7 * 3
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]


@ON_SQLITE
@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_replay_of_a_study_that_ended_within_a_rung_agrees(
    client: TestClient, engine: Engine, body: dict[str, Any], end: str
) -> None:
    study_id = client.post("/studies", json={**body, "deadline": 3600}).json()["id"]
    until(client, engine, study_id, "rungs")
    # One job ends. The others have not ended, and are cancelled with the study.
    end_job(engine, next(job for job in jobs_of(engine, study_id) if job.state is JobState.QUEUED))
    if end == "deadline":
        pass_deadline(engine, study_id)
    else:
        assert client.post(f"/studies/{study_id}/cancel").status_code == 200
    advance(engine)
    ended = client.get(f"/studies/{study_id}").json()
    assert (ended["finished_at"] is not None, ended["selected"], ended["rungs"]) == (True, [1, 2, 3, 4], [])
    replay = client.get(f"/studies/{study_id}/replay").json()
    assert replay["agrees"], replay


@ON_SQLITE
def test_a_worker_that_lost_its_lease_changes_no_measurement(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    study_id = client.post("/studies", json=body).json()["id"]
    advance(engine)
    (screen,) = client.get("/jobs", params={"study": study_id}).json()["items"]
    claimed(engine, screen["id"])
    with session_scope(engine) as session:
        assert session.get_one(Job, screen["id"]).lease_epoch == 1
    assert all(row["files"] == [] for row in client.get(f"/studies/{study_id}/candidates").json()["items"])


@ON_SQLITE
def test_a_study_waits_for_its_device_and_uses_its_latency(
    client: TestClient, engine: Engine, body: dict[str, Any], settings: Settings
) -> None:
    limits = {"retention": 0.5, "latency_ms": 10, "bytes": 1_000_000, "device": "pi5"}
    study_id = client.post("/studies", json={**body, "limits": limits}).json()["id"]
    advance(engine)
    end_jobs(engine, study_id, build_storage(settings.storage_url))
    advance(engine)
    study = client.get(f"/studies/{study_id}").json()
    assert study["stage"] == "screen"
    # resnet32's float32 file misses the limit on bytes, so it is not measured.
    assert study["blocked_reason"].startswith("Waiting for the device pi5 to measure 6 files: run `ttm bench --agent")
    measured_ms = iter([20.0, 5.0, 6.0, 7.0, 8.0])
    for _ in range(5):
        advance(engine)
        work = client.post("/devices/pi5/claim").json()["request"]
        values = {**asdict(measured(work["sha256"], p50_ms=next(measured_ms))), "relative_error": 0.01}
        assert client.post(f"/devices/pi5/requests/{work['id']}/result", json=values).status_code == 200
    assert client.get(f"/studies/{study_id}").json()["stage"] == "screen"
    work = client.post("/devices/pi5/claim").json()["request"]
    # The device vanishes; its agent asks again after the claim has expired.
    assert client.post("/devices/pi5/claim").json()["request"] is None
    with session_scope(engine) as session:
        session.get_one(MeasurementRequest, work["id"]).lease_expires_at = now(session)
    assert client.post("/devices/pi5/claim").json()["request"]["id"] == work["id"]
    client.post(f"/devices/pi5/requests/{work['id']}/failure", json={"error": "out of memory"})
    study = run_to_end(client, engine, study_id)
    assert study["state"] == "succeeded"
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]
    # The float32 file of the first candidate took 20 ms, so only its int8 file meets the limit.
    assert {option["precision"] for option in study["result"]["options"] if option["candidate"] == 1} == {"int8"}
    assert all(option["latency_ms"] <= 10 for option in study["result"]["options"])


def measure_all(client: TestClient, p50_ms: float) -> int:
    """Does all work of the device pi5 and returns its number of files."""
    count = 0
    while (work := client.post("/devices/pi5/claim").json()["request"]) is not None:
        values = measured(work["sha256"], p50_ms=p50_ms, batch=work["batch"], threads=work["threads"] or 4)
        assert client.post(f"/devices/pi5/requests/{work['id']}/result", json=asdict(values)).status_code == 200
        count += 1
    return count


@ON_SQLITE
def test_the_first_latency_on_the_device_counts_and_is_shown(
    client: TestClient, engine: Engine, body: dict[str, Any], settings: Settings
) -> None:
    limits = {"retention": 0.5, "latency_ms": 10, "device": "pi5"}
    study_id = client.post("/studies", json={**body, "limits": limits, "students": STUDENTS[:2]}).json()["id"]
    advance(engine)
    end_jobs(engine, study_id, build_storage(settings.storage_url))
    advance(engine)
    failed = client.post("/devices/pi5/claim").json()["request"]
    client.post(f"/devices/pi5/requests/{failed['id']}/failure", json={"error": "out of memory"})
    assert measure_all(client, 5.0) == 3
    advance(engine)
    shown = client.get(f"/studies/{study_id}/candidates").json()["items"]
    assert [[file["latency_ms"] for file in each["files"]] for each in shown] == [[None, 5.0], [5.0, 5.0]]
    assert {(each["device"], each["runtime"]) for each in shown} == {("pi5", "onnxruntime 1.32.0")}

    # The failed file arrives late, and all files are measured again, also with other batches and threads.
    (screen,) = [
        job["id"] for job in client.get("/jobs", params={"study": study_id}).json()["items"] if job["kind"] == "screen"
    ]
    late = measured(failed["sha256"], p50_ms=4.0)
    assert client.post(f"/devices/pi5/requests/{failed['id']}/result", json=asdict(late)).json()["state"] == "done"
    assert client.post("/devices/pi5/requests", json={"job_id": screen}).status_code == 201
    with session_scope(engine) as session:
        enqueue_study(session, study_id, now(session))
    advance(engine)
    study = client.get(f"/studies/{study_id}").json()
    assert (study["stage"], study["blocked_reason"]) == ("teacher", None)
    assert measure_all(client, 128.0) == 16
    study = run_to_end(client, engine, study_id)
    assert study["state"] == "succeeded", study["failure"]
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]
    assert {option["latency_ms"] for option in study["result"]["options"]} == {5.0}
    ended = client.get(f"/studies/{study_id}/candidates").json()["items"]
    assert [each["files"] for each in ended] == [each["files"] for each in shown]


@pytest.mark.parametrize("end", [pass_deadline, None], ids=["deadline", "cancel"])
def test_the_device_does_no_work_for_a_study_that_has_ended(
    client: TestClient,
    engine: Engine,
    body: dict[str, Any],
    settings: Settings,
    end: Callable[[Engine, str], None] | None,
) -> None:
    limits = {"retention": 0.5, "latency_ms": 10, "device": "pi5"}
    ended, other = (
        client.post("/studies", json={**body, "limits": limits, "students": STUDENTS[:1]}).json()["id"]
        for _ in range(2)
    )
    for study_id in (ended, other):
        advance(engine)
        end_jobs(engine, study_id, build_storage(settings.storage_url))
        advance(engine)
    claimed_work = client.post("/devices/pi5/claim").json()["request"]
    if end is None:
        assert client.post(f"/studies/{ended}/cancel").status_code == 200
    else:
        end(engine, ended)
        advance(engine)
    assert client.get(f"/studies/{ended}").json()["finished_at"] is not None
    (device,) = client.get("/devices").json()["items"]
    assert device["pending_requests"] == 2
    withdrawn = client.get(f"/devices/pi5/requests/{claimed_work['id']}").json()
    assert (withdrawn["state"], withdrawn["error"]) == ("failed", "the study has ended")
    # What the agent measures in this moment is still accepted.
    late = asdict(measured(claimed_work["sha256"], p50_ms=4.0))
    assert client.post(f"/devices/pi5/requests/{claimed_work['id']}/result", json=late).status_code == 200
    assert measure_all(client, 5.0) == 2
    assert run_to_end(client, engine, other)["state"] == "succeeded"


@ON_SQLITE
def test_a_study_whose_device_vanishes_fails_at_its_deadline(
    client: TestClient, engine: Engine, body: dict[str, Any], settings: Settings
) -> None:
    limits = {"retention": 0.5, "latency_ms": 10, "device": "pi5"}
    study_id = client.post("/studies", json={**body, "limits": limits, "deadline": 3600}).json()["id"]
    advance(engine)
    end_jobs(engine, study_id, build_storage(settings.storage_url))
    advance(engine)
    work = client.post("/devices/pi5/claim").json()["request"]
    values = asdict(measured(work["sha256"], p50_ms=4.0))
    assert client.post(f"/devices/pi5/requests/{work['id']}/result", json=values).status_code == 200
    assert client.post("/devices/pi5/claim").json()["request"] is not None
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        study.deadline_at = study.created_at + timedelta(microseconds=1)
        enqueue_study(session, study_id, now(session))
    ended = run_to_end(client, engine, study_id)
    assert ended["failure"]["code"] == "deadline_exceeded"
    assert "while 7 files waited for the device pi5: run `ttm bench --agent" in ended["failure"]["message"]
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]


def until_trained(
    client: TestClient, engine: Engine, body: dict[str, Any], settings: Settings, **fields: Any
) -> dict[str, Any]:
    """A study whose finalists are trained. Their int8 files were screened with 5 ms on the device, and the trained one
    of the smaller student has layers in float32.
    """
    limits = {"retention": 0.5, "latency_ms": 10, "device": "pi5", "precision": "int8"}
    body = {**body, "limits": limits, "students": STUDENTS[:2], **fields}
    study_id = client.post("/studies", json=body).json()["id"]
    storage = build_storage(settings.storage_url)
    advance(engine)
    while end_jobs(engine, study_id, storage, float_layers=STUDENTS[:1]):
        advance(engine)
        if client.get(f"/studies/{study_id}").json()["stage"] == "screen":
            assert measure_all(client, 5.0) == 2
            advance(engine)
    study: dict[str, Any] = client.get(f"/studies/{study_id}").json()
    assert study["stage"] == "finals"
    assert study["blocked_reason"].startswith("Waiting for the device pi5 to measure 2 files: run `ttm bench --agent")
    return study


def shown_latencies(study: dict[str, Any]) -> dict[int, float | None]:
    return {option["candidate"]: option["latency_ms"] for option in study["result"]["options"]}


@ON_SQLITE
@pytest.mark.parametrize(("measured_ms", "chosen"), [([6.0, 8.0], 1), ([6.0, 12.0], 2), ([6.0, None], 2)])
def test_the_device_measures_trained_files_with_float32_layers(
    client: TestClient,
    engine: Engine,
    body: dict[str, Any],
    settings: Settings,
    measured_ms: list[float | None],
    chosen: int,
) -> None:
    study_id = until_trained(client, engine, body, settings)["id"]
    for p50_ms in measured_ms:
        advance(engine)
        assert client.get(f"/studies/{study_id}").json()["stage"] == "finals"
        work = client.post("/devices/pi5/claim").json()["request"]
        path = f"/devices/pi5/requests/{work['id']}"
        if p50_ms is None:
            assert client.post(f"{path}/failure", json={"error": "out of memory"}).status_code == 200
        else:
            values = asdict(measured(work["sha256"], p50_ms=p50_ms))
            assert client.post(f"{path}/result", json=values).status_code == 200
    advance(engine)
    # A later measurement of the same file changes nothing, and is not withdrawn when the study ends.
    finals = [job for job in jobs_of(engine, study_id) if (job.candidate, job.state) == (1, JobState.SUCCEEDED)]
    assert client.post("/devices/pi5/requests", json={"job_id": finals[0].id}).status_code == 201
    study = run_to_end(client, engine, study_id)
    assert measure_all(client, 1.0) == 4
    assert (study["recommendation"]["candidate"], study["recommendation"]["meets_limits"]) == (chosen, True)
    assert shown_latencies(study) == {1: None if None in measured_ms else max(measured_ms), 2: 5.0}
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]


@ON_SQLITE
@pytest.mark.parametrize("late", [False, True])
def test_a_trained_file_that_the_device_has_not_measured_at_the_deadline_has_an_unknown_latency(
    client: TestClient, engine: Engine, body: dict[str, Any], settings: Settings, late: bool
) -> None:
    study_id = until_trained(client, engine, body, settings, deadline=3600)["id"]
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]
    work = client.post("/devices/pi5/claim").json()["request"]
    pass_deadline(engine, study_id)
    advance(engine)
    study = client.get(f"/studies/{study_id}").json()
    assert study["state"] == "succeeded"
    assert (study["recommendation"]["candidate"], shown_latencies(study)) == (2, {1: None, 2: 5.0})
    (miss,) = next(option["misses"] for option in study["result"]["options"] if option["candidate"] == 1)
    assert miss["message"] == "its latency is unknown"
    if late:
        values = asdict(measured(work["sha256"], p50_ms=4.0))
        assert client.post(f"/devices/pi5/requests/{work['id']}/result", json=values).status_code == 200
    assert client.post("/devices/pi5/claim").json()["request"] is None
    assert client.get(f"/studies/{study_id}/replay").json()["agrees"]


def test_a_study_of_an_architecture_of_a_package(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    body |= {"students": [*STUDENTS[:2], "acme_net"]}
    refused = client.post("/studies", json=body).json()
    assert [error["pointer"] for error in refused["errors"]] == ["/students/2/architecture"]
    row = asdict(replace(catalogue.find("cifar/resnet8"), name="acme_net", origin="acme-models 1.0"))
    with session_scope(engine) as session:
        workers.register(
            session,
            "w",
            kind="worker",
            hostname="h",
            pid=1,
            devices=[],
            job_id=None,
            architectures={"acme_net@acme-models": row},
        )
    study = client.post("/studies", json=body)
    assert study.status_code == 201, study.text
    advance(engine)
    with session_scope(engine) as session:
        assert {job.architectures for job in session.query(Job)} == {"acme_net@acme-models"}
