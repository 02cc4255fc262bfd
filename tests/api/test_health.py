"""Liveness and readiness checks."""

import socket
from pathlib import Path
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import Engine

from api.app import create_app
from api.auth.callers import Caller, Callers
from tests.api.test_bad_requests import assert_problem
from tests.api.test_sign_in import BROWSER
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Scope
from ttm_jobs.repositories import workers
from ttm_jobs.settings import Settings

CHECKS = ("database", "storage", "broker", "dispatcher", "worker")
DEGRADED = {
    "database": "ok",
    "storage": "ok",
    "broker": "degraded",
    "dispatcher": "degraded",
    "worker": "degraded",
}


def wait_until_ready(client: TestClient, expected: dict[str, object]) -> None:
    """Waits for a readiness response. On a busy machine, a check may take longer than its timeout of one second."""

    def is_ready() -> bool:
        answer = client.get("/readyz")
        return (answer.status_code, answer.json()) == (200, expected)

    wait_until(is_ready)


def register(engine: Engine, kind: workers.Kind) -> None:
    with session_scope(engine) as session:
        workers.register(session, new_id(), kind=kind, hostname="here", pid=1, devices=[], job_id=None)


def test_api_alone_is_live_and_degraded(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    wait_until_ready(client, {"status": "degraded", "checks": DEGRADED})


def test_api_with_all_dependencies_is_ready(settings: Settings, engine: Engine, redis: EmbeddedBroker) -> None:
    register(engine, "worker")
    register(engine, "dispatcher")
    with TestClient(create_app(settings.model_copy(update={"broker_url": redis.url}))) as client:
        wait_until_ready(client, {"status": "ok", "checks": dict.fromkeys(CHECKS, "ok")})


def test_unresponsive_broker_is_reported_as_degraded(sqlite_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:
        url = f"redis://127.0.0.1:{unresponsive.getsockname()[1]}/0"
        with TestClient(create_app(sqlite_settings.model_copy(update={"broker_url": url}))) as client:
            wait_until_ready(client, {"status": "degraded", "checks": DEGRADED})


def test_database_without_tables_is_unavailable(sqlite_settings: Settings, tmp_path: Path) -> None:
    unavailable = sqlite_settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'empty.db'}"})
    with TestClient(create_app(unavailable)) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/readyz").json()["checks"]["database"] == "unavailable"
        answer = client.get("/jobs")
        assert_problem(answer, 503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200


def test_missing_database_server_is_unavailable(sqlite_settings: Settings) -> None:
    unavailable = sqlite_settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"})
    with TestClient(create_app(unavailable)) as client:
        assert_problem(client.get("/jobs"), 503, "database_unavailable")
        assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize("path", ["/", "/ui/jobs?state=queued", "/docs"])
def test_pages_say_that_the_database_is_unavailable(sqlite_settings: Settings, path: str) -> None:
    """Also where the caller is known already, and only the page's own query fails."""
    unavailable = sqlite_settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"})
    with TestClient(create_app(unavailable)) as client:
        assert_unavailable_page(client.get(path, headers=BROWSER))
        if path != "/docs":
            with patch.object(Callers, "cached", return_value=Caller("default", Scope.ADMIN)):
                assert_unavailable_page(client.get(path))


def assert_unavailable_page(answer: Response) -> None:
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"].startswith("text/html")
    assert "The database is unavailable." in answer.text
    assert '<a href="">Reload the page</a>' in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_internal_error_of_a_page_is_a_page(sqlite_settings: Settings) -> None:
    with (
        TestClient(create_app(sqlite_settings)) as client,
        patch("api.dashboard.fleet.service.worker_list", side_effect=RuntimeError),
    ):
        answer = client.get("/ui/workers", headers=BROWSER)
        assert_problem(client.get("/ui/workers"), 500, "internal_error")
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert "Search the service&#39;s log for the request id." in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("url", ["file:/proc/1/nowhere"])
def test_missing_storage_is_unavailable(sqlite_settings: Settings, url: str) -> None:
    with TestClient(create_app(sqlite_settings.model_copy(update={"storage_url": url}))) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["storage"]) == (503, "unavailable")
