"""Measurements, devices and their work over HTTP, and what a key with scope `measure` may do."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.conftest import ON_SQLITE
from tests.api.test_access import bearer, make_key
from tests.api.test_bad_requests import assert_problem
from tests.support.factories import queued
from tests.support.measuring import measured, succeed_with_onnx
from ttm_jobs.models import Scope
from ttm_jobs.storage import Storage

FLOAT, INT8 = b"float graph", b"int8 graph"
REPORT = {
    "exports": [
        {"file": "student.onnx", "precision": "fp32", "size": 4000, "top1": 0.9},
        {"file": "student-int8.onnx", "precision": "int8", "size": 1000, "top1": 0.898},
    ]
}


@pytest.fixture
def files(engine: Engine, storage: Storage) -> dict[str, str]:
    """SHA-256 of the ONNX artifacts of a finished job, and the job's id."""
    job_id = queued(engine)
    contents = {"student.onnx": FLOAT, "student-int8.onnx": INT8}
    hashes = succeed_with_onnx(engine, storage, job_id, contents, report=json.dumps(REPORT).encode())
    return {"job": job_id, **hashes}


def body(files: dict[str, str], artifact: str = "student.onnx", device: str = "pi5", **fields: Any) -> dict[str, Any]:
    return {"artifact": artifact, "device": device, **asdict(measured(files[artifact])), **fields}


def test_posted_measurements_are_listed_with_a_recommendation(client: TestClient, files: dict[str, str]) -> None:
    path = f"/jobs/{files['job']}/measurements"
    assert client.get(path).json() == {"items": [], "recommendations": []}
    made = client.post(path, json=body(files))
    assert made.status_code == 201, made.text
    assert made.json()["p50_ms"] == 2.0
    faster = body(files, "student-int8.onnx", precision="int8", p50_ms=1.0, p90_ms=1.1, throughput=1000)
    client.post(path, json=faster)
    listed = client.get(path).json()
    assert [(each["device"], each["artifact"], each["precision"]) for each in listed["items"]] == [
        ("pi5", "student-int8.onnx", "int8"),
        ("pi5", "student.onnx", "fp32"),
    ]
    (advice,) = listed["recommendations"]
    assert (advice["device"], advice["file"], advice["speedup"]) == ("pi5", "student-int8.onnx", 2.0)
    (device,) = client.get("/devices").json()["items"]
    assert (device["name"], device["measurements"], device["jobs"]) == ("pi5", 2, 1)


@ON_SQLITE
def test_job_page_shows_measurements_and_where_the_time_goes(
    client: TestClient, engine: Engine, storage: Storage
) -> None:
    job_id = queued(engine)
    layers = [{"name": "<b>conv</b>", "ms": 0.75}, {"name": "fc", "ms": 0.25}]
    shape = {"precision": "fp32", "batch": 1, "threads": 1}
    profile = {"file": "student.onnx", **shape, "layers": layers, "operators": layers}
    report = json.dumps(REPORT | {"profiles": [profile]}).encode()
    hashes = succeed_with_onnx(engine, storage, job_id, {"student.onnx": FLOAT}, report=report)
    assert "Speed in ONNX Runtime" in client.get(f"/ui/jobs/{job_id}").text
    client.post(f"/jobs/{job_id}/measurements", json=body(hashes))
    page = client.get(f"/ui/jobs/{job_id}").text
    assert "<b>pi5</b>: Ship student.onnx: 2 ms. No int8 file was measured on this device." in page
    assert "&lt;b&gt;conv&lt;/b&gt;" in page
    assert "0.75 ms" in page


@ON_SQLITE
def test_repeated_measurement_has_no_further_effect(client: TestClient, files: dict[str, str]) -> None:
    path = f"/jobs/{files['job']}/measurements"
    for _ in range(2):
        assert client.post(path, json=body(files)).status_code == 201
    assert len(client.get(path).json()["items"]) == 1


@ON_SQLITE
@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"p50_ms": 0}, "/p50_ms"),
        ({"p50_ms": -1.0}, "/p50_ms"),
        ({"p50_ms": 1e12}, "/p50_ms"),
        # Faster than a nanosecond, with a throughput that fits.
        ({"p50_ms": 1e-300, "throughput": 1e303}, "/p50_ms"),
        ({"load_ms": 9.9e-7}, "/load_ms"),
        ({"p90_ms": 1.0}, ""),
        ({"throughput": 5000.0}, ""),
        ({"throughput": 0}, "/throughput"),
        ({"batch": 0}, "/batch"),
        ({"batch": True}, "/batch"),
        ({"threads": 10**9}, "/threads"),
        ({"repeats": 0}, "/repeats"),
        ({"relative_error": -0.1}, "/relative_error"),
        ({"load_ms": 0}, "/load_ms"),
        ({"peak_memory_bytes": -1}, "/peak_memory_bytes"),
        ({"precision": "int3"}, "/precision"),
        ({"runtime": "tflite"}, "/runtime"),
        ({"cpu": "a\nb"}, "/cpu"),
        ({"device": "../pi"}, "/device"),
        ({"artifact": "student.safetensors"}, "/artifact"),
        ({"sha256": "1" * 64}, "/sha256"),
        ({"extra": 1}, "/extra"),
    ],
)
def test_impossible_numbers_are_refused(
    client: TestClient, files: dict[str, str], fields: dict[str, Any], pointer: str
) -> None:
    answer = client.post(f"/jobs/{files['job']}/measurements", json=body(files) | fields)
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert client.get(f"/jobs/{files['job']}/measurements").json()["items"] == []


@ON_SQLITE
@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, files: dict[str, str], number: str) -> None:
    text = json.dumps(body(files)).replace('"p90_ms": 3.0', f'"p90_ms": {number}')
    answer = client.post(
        f"/jobs/{files['job']}/measurements", content=text, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)


@ON_SQLITE
def test_unknown_artifacts_are_not_found(client: TestClient, files: dict[str, str]) -> None:
    answer = client.post(f"/jobs/{files['job']}/measurements", json=body(files) | {"artifact": "other.onnx"})
    assert_problem(answer, 404, "artifact_not_found")


def claim(client: TestClient, device: str = "pi5", **options: Any) -> dict[str, Any] | None:
    answer = client.post(f"/devices/{device}/claim", **options)
    assert answer.status_code == 200, answer.text
    work: dict[str, Any] | None = answer.json()["request"]
    return work


def test_agent_claims_downloads_and_completes_work(client: TestClient, files: dict[str, str]) -> None:
    assert claim(client) is None
    made = client.post("/devices/pi5/requests", json={"job_id": files["job"], "batches": [1]})
    assert made.status_code == 201, made.text
    assert len(made.json()["items"]) == 4, "two files, with one thread and all cores"
    seen = {}
    while (work := claim(client)) is not None:
        assert set(work) == {
            *("id", "state", "sha256", "size", "href", "batch", "threads", "error", "created_at", "finished_at")
        }, "an agent learns nothing about the job"
        content = client.get(work["href"]).content
        threads = work["threads"] or 4
        seen[content, work["threads"]] = work["id"]
        result = asdict(measured(work["sha256"], threads=threads))
        for _ in range(2):
            done = client.post(f"/devices/pi5/requests/{work['id']}/result", json=result)
            assert (done.status_code, done.json()["state"]) == (200, "done"), done.text
    assert set(seen) == {(FLOAT, 1), (INT8, 1), (FLOAT, None), (INT8, None)}
    items = client.get(f"/jobs/{files['job']}/measurements").json()["items"]
    assert {(each["artifact"], each["threads"]) for each in items} == {
        ("student.onnx", 1),
        ("student.onnx", 4),
        ("student-int8.onnx", 1),
        ("student-int8.onnx", 4),
    }


@ON_SQLITE
def test_wrong_and_failed_results(client: TestClient, files: dict[str, str]) -> None:
    client.post("/devices/pi5/requests", json={"job_id": files["job"], "batches": [1]})
    work = claim(client)
    assert work is not None
    path = f"/devices/pi5/requests/{work['id']}"
    assert_problem(client.post(f"{path}/result", json=asdict(measured("1" * 64))), 422, "measurement_mismatch")
    wrong_batch = asdict(measured(work["sha256"], batch=2))
    assert_problem(client.post(f"{path}/result", json=wrong_batch), 422, "measurement_mismatch")
    assert_problem(client.get(path.replace("pi5", "phone")), 404, "measurement_request_not_found")
    failed = client.post(f"{path}/failure", json={"error": "memory: not enough"})
    assert (failed.json()["state"], failed.json()["error"]) == ("failed", "memory: not enough")
    assert client.get(path).json()["state"] == "failed"


@ON_SQLITE
def test_requests_require_a_job_with_onnx_files(client: TestClient, engine: Engine) -> None:
    assert_problem(client.post("/devices/pi5/requests", json={"job_id": "x"}), 404, "job_not_found")
    answer = client.post("/devices/pi5/requests", json={"job_id": queued(engine)})
    assert_problem(answer, 404, "artifact_not_found")
    assert client.post("/devices/.hidden/claim").status_code == 422


def test_scope_measure_allows_measuring_only(client: TestClient, engine: Engine, files: dict[str, str]) -> None:
    board, reader, admin = (bearer(make_key(engine, scope=scope)) for scope in (Scope.MEASURE, Scope.READ, Scope.ADMIN))
    job = f"/jobs/{files['job']}"
    client.post("/devices/pi5/requests", json={"job_id": files["job"]}, headers=admin)
    work = claim(client, headers=board)
    assert work is not None
    result = asdict(measured(work["sha256"]))
    allowed = [
        client.get(f"{job}/artifacts", headers=board),
        client.get(f"{job}/artifacts/student.onnx", headers=board),
        client.get(f"{job}/measurements", headers=board),
        client.post(f"{job}/measurements", json=body(files), headers=board),
        client.get("/devices", headers=board),
        client.get(work["href"], headers=board),
        client.post(f"/devices/pi5/requests/{work['id']}/result", json=result, headers=board),
    ]
    assert [answer.status_code for answer in allowed] == [200, 200, 200, 201, 200, 200, 200]
    refused = [
        client.get("/jobs", headers=board),
        client.get(job, headers=board),
        client.get(f"{job}/student", headers=board),
        client.get(f"{job}/artifacts/student.safetensors", headers=board),
        client.get(f"{job}/artifacts/report.json", headers=board),
        client.get(f"{job}/artifacts/a/..%2Fstudent.onnx", headers=board),
        client.get("/uploads", headers=board),
        client.get("/keys", headers=board),
        client.get("/", headers=board),
        client.post("/devices/pi5/requests", json={"job_id": files["job"]}, headers=board),
        client.post(f"{job}/cancel", headers=board),
        client.post("/uploads", content=b"x", headers=board),
        client.post(f"{job}/measurements", json=body(files), headers=reader),
        client.post("/devices/pi5/claim", headers=reader),
    ]
    assert [answer.json()["code"] for answer in refused] == ["forbidden"] * len(refused)


@ON_SQLITE
def test_board_of_another_project_sees_and_measures_nothing(
    client: TestClient, engine: Engine, files: dict[str, str]
) -> None:
    board, foreign = bearer(make_key(engine)), bearer(make_key(engine, "other", Scope.MEASURE))
    job = f"/jobs/{files['job']}"
    (request, *_) = client.post("/devices/pi5/requests", json={"job_id": files["job"]}, headers=board).json()["items"]
    assert claim(client, headers=foreign) is None
    result = asdict(measured(request["sha256"]))
    refused = [
        client.get(f"{job}/artifacts/student.onnx", headers=foreign),
        client.post(f"{job}/measurements", json=body(files), headers=foreign),
        client.get(request["href"], headers=foreign),
        client.post(f"/devices/pi5/requests/{request['id']}/result", json=result, headers=foreign),
    ]
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert [each["name"] for each in client.get("/devices", headers=foreign).json()["items"]] == ["pi5"]
    assert client.get(f"{job}/measurements", headers=board).json()["items"] == []
