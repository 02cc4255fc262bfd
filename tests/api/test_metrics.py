"""The Prometheus metrics of the API."""

import os
import signal

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from api.app import create_app
from tests.api.conftest import make_settings
from tests.support.factories import NO_TIME, queued, running
from tests.support.runs import claim, succeed
from tests.support.servers import PostgresServer
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Scope
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import keys, projects
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

TOKEN = "the-token-of-prometheus"


def scrape(client: TestClient, **headers: str) -> dict[tuple[str, ...], float]:
    """The value of each sample by its name and label values."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_database_metrics_match_the_database(client: TestClient, engine: Engine, storage: Storage) -> None:
    queued(engine, queue="gpu")
    queued(engine)
    running(engine, duration=NO_TIME)
    succeed(engine, storage, claim(engine, queued(engine)))
    with session_scope(engine) as session:
        for name, job_id in (("idle", None), ("busy", "a job")):
            workers.register(
                session, name, kind="worker", hostname="h", pid=1, devices=[], job_id=job_id, queues=["gpu", "cpu"]
            )
        workers.register(session, "d", kind="dispatcher", hostname="h", pid=1, devices=[], job_id=None)
    found = scrape(client)
    assert found["ttm_database_up",] == 1
    assert {key[1]: value for key, value in found.items() if key[0] == "ttm_queue_jobs"} == {
        "gpu": 1,
        "default": 1,
        "cpu": 0,
    }
    assert 0 <= found["ttm_queue_oldest_seconds", "gpu"] < 60
    assert (found["ttm_workers", "gpu"], found["ttm_workers_idle", "gpu"], found["ttm_workers", "default"]) == (2, 1, 0)
    assert (found["ttm_dispatchers",], found["ttm_leases_expired",], found["ttm_outbox_due",]) == (1, 1, 4)
    assert found["ttm_outbox_lag_seconds",] >= 0
    assert (found["ttm_jobs", "queued"], found["ttm_jobs", "succeeded"], found["ttm_jobs", "failed"]) == (2, 1, 0)
    assert (found["ttm_attempts", "succeeded"], found["ttm_attempts", "running"]) == (1, 1)
    assert found["ttm_stored_bytes", "artifacts"] > 1_000_000


def test_requests_are_counted_by_route_template(sqlite_client: TestClient) -> None:
    for _ in range(3):
        sqlite_client.get("/jobs/01a208f9-4f21-7689-b112-a58ab3238037")
    for path in ("/no/such/1", "/no/such/2"):
        sqlite_client.get(path)
    sqlite_client.request("BREW", "/jobs")
    found = scrape(sqlite_client)
    assert found["ttm_http_requests_total", "GET", "/jobs/{job_id}", "404"] == 3
    assert found["ttm_http_requests_total", "GET", "none", "404"] == 2
    assert found["ttm_http_request_seconds_count", "GET", "/jobs/{job_id}"] == 3
    assert not any("such" in part for key in found for part in key)
    assert any(key[:2] == ("ttm_http_requests_total", "other") for key in found)


def test_metrics_require_the_token_or_an_admin_key(sqlite_settings: Settings, sqlite_url: str) -> None:
    with TestClient(create_app(sqlite_settings.model_copy(update={"metrics_token": TOKEN}))) as client:
        engine = client.app.state.services.engine  # type: ignore[attr-defined]
        with session_scope(engine) as session:
            projects.ensure(session, "other")
            admin, reader, foreign = (
                keys.create(session, project_id=project, name="a key", scope=scope).secret
                for project, scope in (("default", Scope.ADMIN), ("default", Scope.READ), ("other", Scope.ADMIN))
            )
        for key, status in ((admin, 200), (TOKEN, 200), (reader, 403), (foreign, 403), (TOKEN + "x", 401)):
            assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == status, key
        assert client.get("/metrics").status_code == 401
        for path in ("/jobs", "/metrics/", "/keys"):
            answer = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 401, "the token grants nothing else"


def test_process_metrics_are_exported_without_a_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    with PostgresServer() as server:
        settings = make_settings(server.url(), tmp_path_factory.mktemp("api"))
        with TestClient(create_app(settings.model_copy(update={"metrics_token": TOKEN}))) as client:
            os.kill(server.pid, signal.SIGQUIT)
            found = scrape(client, Authorization=f"Bearer {TOKEN}")
            assert found["ttm_database_up",] == 0
            assert found["process_resident_memory_bytes",] > 0
            assert ("ttm_outbox_due",) not in found
