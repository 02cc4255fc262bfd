"""Estimates of a dry run from a similar job."""

from typing import Any

import httpx2
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.support.runs import STUDENT_BYTES, claim, succeed
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import crud, leases
from ttm_jobs.repositories.run_data import recording
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def body(settings: Settings, **training: Any) -> dict[str, Any]:
    return {
        "student": "resnet18",
        "method": "ce",
        "dataset": settings.data_roots[0].as_uri(),
        "training": {"epochs": 10, "batch_size": 32, **training},
    }


def finished(client: TestClient | httpx2.Client, engine: Engine, storage: Storage, spec: dict[str, Any]) -> str:
    job_id = str(client.post("/jobs", json=spec).json()["id"])
    lease = claim(engine, job_id)
    estimate = {
        "seconds": 90.0,
        "step_seconds": 0.1,
        "teacher_seconds": 0,
        "store_bytes": 1000,
        "memory_bytes": 5_000_000,
    }
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.resolved(
            session, job, job.spec, {"total_steps": 900, "train_images": 8_000, "estimate": estimate}, now(session)
        )
    succeed(engine, storage, lease)
    with session_scope(engine) as session:
        job = crud.get(session, job_id)
        assert job.result is not None
        job.result = {**job.result, "training_seconds": 100.0}
    return job_id


def test_estimate_from_a_similar_job(client: TestClient, engine: Engine, storage: Storage, settings: Settings) -> None:
    without_similar_job = client.post("/jobs/validate", json=body(settings)).json()
    assert (
        without_similar_job["similar_job"],
        without_similar_job["seconds"],
        without_similar_job["memory_bytes"],
        without_similar_job["disk_bytes"],
    ) == (None,) * 4
    job_id = finished(client, engine, storage, body(settings))
    same = client.post("/jobs/validate", json=body(settings)).json()
    assert (same["similar_job"], same["seconds"], same["memory_bytes"]) == (job_id, 100.0, 5_000_000)
    assert same["disk_bytes"] == 1000 + len(STUDENT_BYTES) + len(b"step 1\n")
    longer = client.post("/jobs/validate", json=body(settings, epochs=25)).json()
    assert (longer["seconds"], longer["memory_bytes"]) == (250.0, 5_000_000)
    assert longer["disk_bytes"] == same["disk_bytes"] + 1500
    # 40 epochs are the default for 8,000 images.
    assert client.post("/jobs/validate", json=body(settings, epochs=None)).json()["seconds"] == 400.0
    for other in (
        body(settings, batch_size=64),
        {**body(settings), "student": "resnet34"},
        {**body(settings), "method": "kd", "teacher": "timm:resnet50.a1_in1k"},
    ):
        assert client.post("/jobs/validate", json=other).json()["similar_job"] is None
