"""Blocked reasons of queued jobs."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from typer.testing import CliRunner

from tests.support.api_server import served
from tests.support.runs import claim
from ttm_client.cli.main import app
from ttm_core.spec import catalogue
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job, Project, Worker
from ttm_jobs.repositories import installed, service_stats, workers
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from ttm_jobs.settings import Settings

GB = 10**9


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"queues": ("gpu", "gpu_80")})


def start_worker(
    engine: Engine,
    *queues: str,
    memory: int | None = 24 * GB,
    job_id: str | None = None,
    error: str | None = None,
    kind: str = "cuda",
    count: int = 1,
    bfloat16: bool = True,
    architectures: Mapping[str, str] | None = None,
) -> None:
    """`architectures` maps names of architectures to packages with their versions."""
    rows = {installed.key(name, origin): _row(name, origin) for name, origin in (architectures or {}).items()}
    device = {"kind": kind, "count": count, "name": "a GPU", "memory_bytes": memory, "bfloat16": bfloat16}
    with session_scope(engine) as session:
        workers.register(
            session,
            new_id(),
            kind="worker",
            hostname="h",
            pid=1,
            devices=[device],
            job_id=job_id,
            error=error,
            queues=queues,
            architectures=rows,
        )


def _row(name: str, origin: str) -> dict[str, Any]:
    return asdict(replace(catalogue.find("resnet18"), name=name, origin=origin, tags={}))


def post(client: TestClient, settings: Settings, **fields: Any) -> str:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce", **fields}
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def blocked(client: TestClient, job_id: str) -> tuple[str | None, str | None]:
    """The reason after an empty change, which bypasses the cache of polls."""
    view = client.patch(f"/jobs/{job_id}", json={}).json()
    return view["blocked_on"], view["blocked_reason"]


def test_queue_without_a_worker(client: TestClient, engine: Engine, settings: Settings) -> None:
    # Similar queue names, a name that matches as a LIKE pattern, and a dispatcher.
    start_worker(engine, "gpu_80", "gpux80", "not-gpu")
    with session_scope(engine) as session:
        workers.register(
            session, new_id(), kind="dispatcher", hostname="h", pid=1, devices=[], job_id=None, queues=("gpu",)
        )
    job_id = post(client, settings)
    assert blocked(client, job_id) == ("worker", "No running worker serves the queue gpu.")
    assert client.get(f"/jobs/{job_id}").json()["blocked_reason"] == "No running worker serves the queue gpu."
    assert "No running worker serves the queue gpu." in client.get(f"/ui/jobs/{job_id}").text
    start_worker(engine, "cpu", "gpu")
    assert blocked(client, job_id)[0] == "queue"


def test_worker_whose_claims_fail_is_not_idle(client: TestClient, engine: Engine, settings: Settings) -> None:
    error = "Claiming a job failed: InsufficientPrivilege: permission denied for <b>table</b> jobs"
    start_worker(engine, "gpu", error=error)
    job_id = post(client, settings)
    what, reason = blocked(client, job_id)
    assert what == "worker"
    assert reason is not None
    assert "failed at its last claim or attempt (1)" in reason
    (worker,) = client.get("/workers").json()["items"]
    assert (worker["busy"], worker["error"]) == (False, error)
    for page in ("/", "/ui/workers"):
        html = client.get(page).text
        assert f'<span class="warn">{error.replace("<", "&lt;").replace(">", "&gt;")}</span>' in html
        assert '<span class="quiet">idle</span>' not in html
    start_worker(engine, "gpu", job_id=new_id())
    assert blocked(client, job_id) == (
        "queue",
        "Every worker that could run it is busy, or failed at its last claim or attempt (2).",
    )
    start_worker(engine, "gpu")
    assert blocked(client, job_id) == ("queue", "A worker is idle and will claim this job or one ahead of it.")


def test_underscore_in_a_queue_name_is_not_a_wildcard(client: TestClient, engine: Engine, settings: Settings) -> None:
    start_worker(engine, "gpux80")
    assert blocked(client, post(client, settings, queue="gpu_80"))[0] == "worker"


def test_unresponsive_worker_does_not_count(client: TestClient, engine: Engine, settings: Settings) -> None:
    start_worker(engine, "gpu")
    job_id = post(client, settings)
    with session_scope(engine) as session:
        for worker in session.query(Worker):
            worker.last_seen_at -= timedelta(seconds=settings.worker_timeout_seconds + 1)
    assert blocked(client, job_id)[0] == "worker"


def test_job_too_large_for_every_worker(client: TestClient, engine: Engine, settings: Settings) -> None:
    start_worker(engine, "gpu", memory=24 * GB)
    start_worker(engine, "gpu", memory=16 * GB)
    start_worker(engine, "gpu_80", memory=80 * GB)
    large, fits = (post(client, settings, device_memory_bytes=gigabytes * GB) for gigabytes in (40, 24))
    assert blocked(client, large) == (
        "memory",
        "The job needs 40.0 GB of device memory, and no worker of the queue gpu has more than 24.0 GB.",
    )
    assert blocked(client, fits)[0] == "queue"
    with read_scope(engine) as session:
        seen = service_stats.collect(session, seen_within=timedelta(minutes=1)).queues
    assert {queue: state.unplaceable for queue, state in seen.items()} == {"gpu": 1, "gpu_80": 0}
    start_worker(engine, "gpu", memory=None)
    assert blocked(client, large)[0] == "queue"
    with read_scope(engine) as session:
        assert service_stats.collect(session, seen_within=timedelta(minutes=1)).queues["gpu"].unplaceable == 0


def test_job_waits_for_a_worker_with_its_devices(client: TestClient, engine: Engine, settings: Settings) -> None:
    start_worker(engine, "gpu", kind="cpu", count=16)
    half = post(client, settings, training={"precision": "float16"})
    brain = post(client, settings, training={"precision": "bfloat16"}, device="cuda")
    four = post(client, settings, training={"devices": 4, "batch_size": 64}, device="cuda")
    any_four = post(client, settings, training={"devices": 4, "batch_size": 64})
    assert blocked(client, half) == ("device", "The job needs a GPU, and no running worker of the queue gpu has that.")
    assert blocked(client, any_four)[0] == "queue", "without GPUs, devices are processes"
    start_worker(engine, "gpu", count=2, bfloat16=False)
    assert blocked(client, half)[0] == "queue"
    assert blocked(client, brain) == (
        "device",
        "The job needs a GPU with bfloat16 units (Ampere or newer), and no running worker of the queue gpu has that.",
    )
    assert blocked(client, four) == ("device", "The job needs 4 GPUs, and no running worker of the queue gpu has that.")
    with read_scope(engine) as session:
        assert service_stats.collect(session, seen_within=timedelta(minutes=1)).queues["gpu"].unplaceable == 2
    start_worker(engine, "gpu", count=4)
    assert blocked(client, four)[0] == "queue"
    assert blocked(client, brain)[0] == "queue"
    on_cpu = post(client, settings, device="cpu", queue="gpu_80")
    start_worker(engine, "gpu_80")
    assert blocked(client, on_cpu)[1] == (
        "The job needs a worker without GPUs, and no running worker of the queue gpu_80 has that."
    )


def test_job_waits_for_a_worker_with_its_packages(client: TestClient, engine: Engine, settings: Settings) -> None:
    start_worker(engine, "gpu", kind="cpu", architectures={"acme_net": "acme-models 1.0", "other_net": "other 2.0"})
    file = settings.data_roots[0] / "teacher.pt"
    file.touch()
    both = post(
        client,
        settings,
        student="other_net",
        method="kd",
        teacher={"checkpoint": file.as_uri(), "architecture": "acme_net"},
    )
    plain = post(client, settings)
    assert blocked(client, both)[0] == "queue"
    with session_scope(engine) as session:
        session.query(Worker).delete()
    # A similar name, and the same name in another package.
    start_worker(engine, "gpu", kind="cpu", architectures={"acmexnet": "acme-models 1.0", "other_net": "another 2.0"})
    assert blocked(client, both) == (
        "architecture",
        "The job needs the architecture acme_net of the package acme-models and the architecture other_net of the "
        "package other, and no running worker of the queue gpu that has its devices has installed that.",
    )
    assert blocked(client, plain)[0] == "queue"
    with read_scope(engine) as session:
        assert service_stats.collect(session, seen_within=timedelta(minutes=1)).queues["gpu"].unplaceable == 1
    keys = {"acme_net@acme-models", "other_net@other"}
    claims = [
        (frozenset[str](), plain),
        (frozenset({"acme_net@acme-models", "other_net@another"}), None),
        (frozenset({*keys, "third@other"}), both),
    ]
    for architectures, expected in claims:
        with session_scope(engine) as session:
            capacity = WorkerCapacity(("gpu",), "cpu", architectures=architectures)
            lease = leases.claim_next(session, "w", duration=timedelta(minutes=1), capacity=capacity)
        assert (lease and lease.job_id) == expected


def test_busy_workers_project_limit_and_retry_backoff(client: TestClient, engine: Engine, settings: Settings) -> None:
    running, job_id = post(client, settings), post(client, settings)
    start_worker(engine, "gpu", job_id=running)
    assert blocked(client, job_id) == ("queue", "Every worker that could run it is busy (1).")
    claim(engine, running)
    assert blocked(client, running) == (None, None)
    with session_scope(engine) as session:
        session.get_one(Project, "default").max_running_jobs = 1
    assert blocked(client, job_id) == ("limit", "The project has reached its limit of running jobs (1).")
    with session_scope(engine) as session:
        session.get_one(Job, job_id).not_before = now(session) + timedelta(hours=1)
    assert blocked(client, job_id)[0] == "time"


def test_poll_returns_the_current_reason_with_an_unchanged_etag(
    client: TestClient, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.jobs.service._BLOCKED_CACHE_SECONDS", 0.0)
    job_id = post(client, settings)
    before = client.get(f"/jobs/{job_id}")
    start_worker(engine, "gpu")
    after = client.get(f"/jobs/{job_id}")
    assert (before.json()["blocked_on"], after.json()["blocked_on"]) == ("worker", "queue")
    assert before.headers["etag"] == after.headers["etag"]


def test_ttm_show_prints_the_reason(sqlite_settings: Settings) -> None:
    with served(sqlite_settings) as url:
        runner = CliRunner()
        submitted = runner.invoke(
            app,
            [
                *("submit", "--student", "resnet18", "--dataset", sqlite_settings.data_roots[0].as_uri()),
                *("--method", "ce", "--url", url, "--json"),
            ],
        )
        assert submitted.exit_code == 0, submitted.output
        shown = runner.invoke(app, ["show", submitted.stdout.split('"id": "')[1][:36], "--url", url])
    assert "No running worker serves the queue default." in shown.output
