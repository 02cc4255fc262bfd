"""Idempotency keys: a repeated request takes effect once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select, text, update

from api.app import create_app
from tests.api.conftest import ON_SQLITE
from tests.api.test_bad_requests import assert_problem
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.database.sealing import add_key, drop_old_keys
from ttm_jobs.errors import RequestInFlight
from ttm_jobs.models import Base, IdempotencyKey, Job, OutboxMessage
from ttm_jobs.repositories.access import idempotency, server_secrets
from ttm_jobs.settings import Settings


@pytest.fixture
def body(settings: Settings) -> dict[str, Any]:
    return {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}


def count(engine: Engine, table: type) -> int:
    with read_scope(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_repeated_request_gets_the_same_response(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "nightly-1"}
    first = client.post("/jobs", json=body, headers=headers)
    again = client.post("/jobs", json=dict(reversed(body.items())), headers=headers)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["location"] == again.headers["location"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert client.post("/jobs", json=body, headers={"Idempotency-Key": "nightly-2"}).json()["id"] != first.json()["id"]
    assert (count(engine, Job), count(engine, OutboxMessage)) == (2, 2)


def test_other_request_with_the_same_key_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = client.post("/jobs", json=body, headers=headers).json()["id"]
    assert_problem(client.post("/jobs", json={**body, "name": "x"}, headers=headers), 422, "idempotency_key_reused")
    client.post(f"/jobs/{job_id}/cancel")
    assert_problem(client.post(f"/jobs/{job_id}/retry", headers=headers), 422, "idempotency_key_reused")
    made = [client.post(f"/jobs/{job_id}/retry", headers={"Idempotency-Key": "r"}).json()["id"] for _ in range(2)]
    assert made[0] == made[1] != job_id


def test_repeated_request_creates_one_webhook(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"url": "https://hooks.example.org/ttm"}
    first, again = (client.post("/webhooks", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["location"] == f"/webhooks/{first.json()['id']}"
    assert len(client.get("/webhooks").json()["items"]) == 1
    other = client.post("/webhooks", json={**body, "events": ["job.failed"]}, headers=headers)
    assert_problem(other, 422, "idempotency_key_reused")


def database_text(engine: Engine) -> str:
    """All rows of all tables."""
    with engine.begin() as connection:
        tables = [
            connection.execute(text(f"SELECT * FROM {table.name}")).all() for table in Base.metadata.sorted_tables
        ]
    return repr(tables)


@pytest.fixture
def sealed_client(settings: Settings, key_file: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update={"secret_key_file": key_file}))) as client:
        yield client


def test_secret_of_a_webhook_is_in_no_table(sealed_client: TestClient, engine: Engine, key_file: Path) -> None:
    def create() -> Any:
        body = {"url": "https://hooks.example.org/ttm"}
        return sealed_client.post("/webhooks", json=body, headers={"Idempotency-Key": "k"})

    first = create()
    assert first.status_code == 201
    before = database_text(engine)
    assert "hooks.example.org" in before
    assert first.json()["secret"] not in before
    # The response is still readable when the key with which it was stored is gone.
    for _ in range(2):
        add_key(key_file)
        operator = create_engine(str(engine.url.render_as_string(hide_password=False)), key_file)
        with session_scope(operator) as session:
            server_secrets.reencrypt(session)
        operator.dispose()
        drop_old_keys(key_file)
    again = create()
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


def test_refused_request_is_not_stored(client: TestClient, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/jobs", json={**body, "student": "resnet188"}, headers=headers).status_code == 422
    assert client.post("/jobs", json=body, headers=headers).status_code == 201


def test_concurrent_requests_create_one_job(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "k"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/jobs", json=body, headers=headers), range(16)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert all(answer.json()["code"] == "request_in_flight" for answer in answers if answer.status_code == 409)
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert count(engine, Job) == 1


def test_concurrent_request_is_refused_on_postgresql(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: the second request waits for the first")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with session_scope(engine) as session:
            assert idempotency.find(session, "k", "0" * 64) is None
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    try:
        with session_scope(engine) as session, pytest.raises(RequestInFlight):
            idempotency.find(session, "k", "0" * 64)
    finally:
        done.set()
        holder.join()
    # The first request failed and stored nothing.
    with session_scope(engine) as session:
        assert idempotency.find(session, "k", "0" * 64) is None


def test_key_expires_after_a_day(client: TestClient, engine: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/jobs", json=body, headers=headers)
    with session_scope(engine) as session:
        session.execute(update(IdempotencyKey).values(created_at=now(session) - timedelta(hours=25)))
    assert client.post("/jobs", json={**body, "name": "x"}, headers=headers).status_code == 201
    assert count(engine, IdempotencyKey) == 1


def test_expired_key_is_usable_while_many_others_have_expired(
    client: TestClient, engine: Engine, body: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "nightly"}
    first = client.post("/jobs", json=body, headers=headers).json()["id"]
    with session_scope(engine) as session:
        at = now(session) - timedelta(hours=26)
        session.add_all(
            IdempotencyKey(
                project_id="default", key=f"k{number}", request="0" * 64, status=201, body="{}", created_at=at
            )
            for number in range(250)
        )
        session.flush()
        # The newest one, and the last one of the table.
        session.get_one(IdempotencyKey, ("default", "nightly")).created_at = at + timedelta(hours=1)
    made = [client.post("/jobs", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json()["id"] == made[1].json()["id"] != first


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
@ON_SQLITE
def test_invalid_keys_are_refused(client: TestClient, body: dict[str, Any], key: str) -> None:
    answer = client.post("/jobs", json=body, headers={"Idempotency-Key": key.encode()})
    assert_problem(answer, 422, "invalid_request")
