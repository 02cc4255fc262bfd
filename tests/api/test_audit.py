"""The audit log: each change has one entry, committed with it."""

import json
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from tests.api.test_access import bearer, make_key
from tests.support.factories import queued
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.repositories.access import audit
from ttm_jobs.settings import Settings


@pytest.fixture
def admin(engine: Engine, client: TestClient) -> TestClient:
    client.headers.update(bearer(make_key(engine)))
    return client


def test_changes_record_actor_action_object_request_and_address(admin: TestClient, engine: Engine) -> None:
    created = admin.post("/keys", json={"name": "laptop"}, headers={"X-Request-ID": "create-1"}).json()
    job_id = queued(engine)
    laptop = bearer(created["secret"])
    assert admin.post(f"/jobs/{job_id}/cancel", headers=laptop).is_success
    assert admin.delete(f"/keys/{created['id']}").status_code == 204
    entries = admin.get("/audit").json()["items"]
    assert [(each["actor"], each["action"], each["object"]) for each in entries] == [
        ("test", "keys_revoke", created["id"]),
        ("laptop", "jobs_cancel", job_id),
        ("test", "keys_create", created["id"]),
    ]
    assert entries[1]["key_id"] == created["id"]
    assert entries[2]["request_id"] == "create-1"
    assert {each["address"] for each in entries} == {"testclient"}
    assert created["secret"] not in admin.get("/audit").text


def test_refused_and_repeated_requests_and_reads_have_no_entry(admin: TestClient, settings: Settings) -> None:
    assert admin.post("/keys", json={"name": ""}).status_code == 422
    assert admin.delete("/keys/01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10").status_code == 404
    assert admin.get("/jobs").status_code == 200
    assert admin.get("/audit").json()["items"] == []
    body = {"student": "resnet18", "method": "ce", "dataset": f"file://{settings.data_roots[0]}"}
    answers = [admin.post("/jobs", json=body, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    entries = admin.get("/audit").json()["items"]
    assert [(each["action"], each["object"]) for each in entries] == [("jobs_create", answers[0].json()["id"])]


def test_an_upload_of_several_transactions_has_one_entry(admin: TestClient) -> None:
    upload = admin.put("/uploads/data.zip", content=b"PK\x05\x06" + bytes(18)).json()
    entries = admin.get("/audit").json()["items"]
    assert len(entries) == 1, (upload, entries)


def test_filters_pages_and_export(admin: TestClient) -> None:
    ids = [admin.post("/keys", json={"name": f"key {number}"}).json()["id"] for number in range(3)]
    admin.delete(f"/keys/{ids[0]}")
    first = admin.get("/audit", params={"action": "keys_create", "limit": 2}).json()
    rest = admin.get("/audit", params={"action": "keys_create", "cursor": first["next_cursor"]}).json()
    assert [each["object"] for each in first["items"] + rest["items"]] == ids[::-1]
    assert not rest["has_more"]
    assert len(admin.get("/audit", params={"object": ids[0]}).json()["items"]) == 2
    assert admin.get("/audit", params={"actor": "nobody"}).json()["items"] == []
    at = rest["items"][0]["created_at"]
    assert len(admin.get("/audit", params={"after": at}).json()["items"]) == 4
    assert admin.get("/audit", params={"before": at}).json()["items"] == []
    exported = admin.get("/audit/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in exported.text.splitlines()] == admin.get("/audit").json()["items"]
    assert admin.get("/audit", params={"cursor": "x"}).json()["errors"][0]["pointer"] == "/cursor"


def test_a_project_sees_its_own_log_with_scope_admin(admin: TestClient, engine: Engine) -> None:
    other = bearer(make_key(engine, "other"))
    made = admin.post("/keys", json={"name": "mine"}).json()
    for path in ("/audit", "/audit/export"):
        assert admin.get(path, headers=bearer(made["secret"])).status_code == 403
        assert made["id"] not in admin.get(path, headers=other).text
        assert made["id"] in admin.get(path).text


def test_entries_cannot_be_changed_and_expire(admin: TestClient, engine: Engine) -> None:
    admin.post("/keys", json={"name": "one"})
    with pytest.raises(DatabaseError, match="append-only"), session_scope(engine) as session:
        session.execute(text("UPDATE audit_entries SET actor = 'somebody else'"))
    with session_scope(engine) as session:
        assert audit.expire(session, older_than=timedelta(hours=1)) == 0
        assert audit.expire(session, older_than=timedelta(0)) == 1
    with read_scope(engine) as session:
        assert audit.find(session, audit.AuditFilters(after=now(session) - timedelta(days=1)), limit=1) == []
