"""Changes of several jobs in one request."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.jobs.bulk import service
from tests.api.test_access import UNKNOWN_ID, bearer, make_key
from tests.api.test_bad_requests import assert_problem
from tests.support.factories import queued
from tests.support.runs import claim, succeed
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def results(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return {item["id"]: item["error"]["code"] if item["error"] else item["state"] for item in answer.json()["items"]}


def test_each_job_has_a_result_and_an_audit_entry(client: TestClient, engine: Engine, storage: Storage) -> None:
    client.headers.update(bearer(make_key(engine)))
    done, waiting, running = queued(engine), queued(engine), queued(engine)
    succeed(engine, storage, claim(engine, done))
    claim(engine, running)
    make_key(engine, "other")
    foreign = queued(bound_to(engine, "other"))
    jobs = [done, waiting, running, foreign, UNKNOWN_ID, "x\x00", waiting]
    expected = {
        done: "job_not_cancellable",
        waiting: "cancelled",
        running: "cancelling",
        foreign: "job_not_found",
        UNKNOWN_ID: "job_not_found",
        "x\x00": "job_not_found",
    }
    for _ in range(2):
        assert results(client, "/jobs/cancel", jobs=jobs) == expected
    entries = client.get("/audit").json()["items"]
    assert {(each["action"], each["object"]) for each in entries} == {
        ("jobs_cancel_many", waiting),
        ("jobs_cancel_many", running),
    }
    assert len(entries) == 2, "the repeated request changed nothing"


def test_tags_are_added_and_removed(client: TestClient, engine: Engine) -> None:
    one, full = queued(engine, tags=["a", "b"]), queued(engine, tags=[f"t{number}" for number in range(20)])
    for _ in range(2):
        assert results(client, "/jobs/tag", jobs=[one, full], add=["c"], remove=["a"]) == {
            one: "queued",
            full: "too_many_tags",
        }
    assert client.get(f"/jobs/{one}").json()["tags"] == ["b", "c"]
    assert [job["id"] for job in client.get("/jobs", params={"tag": "c"}).json()["items"]] == [one]
    assert len(client.get(f"/jobs/{full}").json()["tags"]) == 20


def test_filter_selects_the_jobs_in_pages(
    client: TestClient, engine: Engine, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PAGE", 2)
    make_key(engine, "other")
    jobs = [queued(engine, tags=["night"], name=f"run {number}") for number in range(5)]
    queued(bound_to(engine, "other"), tags=["night"])
    unrelated = queued(engine, tags=["day"])
    succeed(engine, storage, claim(engine, jobs[0]))
    client.headers.update(bearer(make_key(engine)))

    def pages(path: str, **body: Any) -> list[dict[str, Any]]:
        found, cursor = [], None
        while True:
            answer = client.post(path, json={**body, "cursor": cursor}).json()
            found.append(answer)
            cursor = answer["next_cursor"]
            if cursor is None:
                return found

    newest_first = [*reversed(jobs)]
    night = {"filter": {"tag": ["night"]}}
    dry = pages("/jobs/cancel", **night, dry_run=True)
    assert [item["id"] for page in dry for item in page["items"]] == newest_first[:4], "not the job that has ended"
    assert [page["matched"] for page in dry] == [4, 2]
    assert {item["state"] for page in dry for item in page["items"]} == {"queued"}
    assert client.get("/audit").json()["items"] == []
    tagged = pages("/jobs/tag", **night, add=["week"], remove=["night"])
    assert [item["id"] for page in tagged for item in page["items"]] == newest_first
    assert tagged[0]["items"][0]["tags"] == ["week"]
    one = pages("/jobs/cancel", filter={"tag": ["week"], "name": "RUN 3", "state": ["queued", "running"]})
    assert [(item["id"], item["state"]) for item in one[0]["items"]] == [(jobs[3], "cancelled")]
    assert pages("/jobs/cancel", filter={"state": ["succeeded"]})[0]["matched"] == 0
    cancelled = pages("/jobs/cancel", filter={"tag": ["week"]})
    assert [item["id"] for page in cancelled for item in page["items"]] == [jobs[4], jobs[2], jobs[1]]
    assert client.get(f"/jobs/{unrelated}").json()["state"] == "queued"
    assert client.get("/audit", params={"object": jobs[4]}).json()["items"][0]["action"] == "jobs_cancel_many"


def test_filter_selects_by_names_in_the_registry(client: TestClient, engine: Engine, settings: Settings) -> None:
    teacher, dataset = "timm:resnet18.a1_in1k", settings.data_roots[0].as_uri()
    client.post("/teachers", json={"name": "pets", "teacher": teacher}).raise_for_status()
    client.post("/datasets", json={"name": "pets", "dataset": dataset}).raise_for_status()
    job_id, other = queued(engine, teacher=teacher, dataset=dataset), queued(engine)
    assert results(client, "/jobs/tag", filter={"teacher": "teacher:pets"}, add=["x"]) == {job_id: "queued"}
    assert results(client, "/jobs/cancel", filter={"dataset": "dataset:pets@1"}) == {job_id: "cancelled"}
    assert results(client, "/jobs/cancel", filter={"dataset": "dataset:dogs"}) == {}
    assert client.get(f"/jobs/{other}").json()["state"] == "queued"


def test_filter_must_be_explicit_and_valid(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    for body in (
        {"filter": {}},
        {"filter": {"state": [], "tag": []}},
        {"filter": {"state": ["gone"]}},
        {"filter": {"limit": 5}},
        {"filter": {"tag": ["x\x00"]}},
        {"filter": {"tag": ["x"]}, "jobs": [job_id]},
        {"jobs": [job_id], "cursor": "x"},
    ):
        assert_problem(client.post("/jobs/cancel", json=body), 422, "invalid_request")
    forged = client.post("/jobs/cancel", json={"filter": {"tag": ["x"]}, "cursor": "x"})
    assert_problem(forged, 422, "invalid_cursor")
    assert forged.json()["errors"][0]["in"] == "body"
    assert client.get(f"/jobs/{job_id}").json()["state"] == "queued"


def test_requests_are_limited_and_need_scope_submit(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    for body in ({"jobs": []}, {"jobs": [job_id] * 101}, {}, {"jobs": job_id}):
        assert_problem(client.post("/jobs/cancel", json=body), 422, "invalid_request")
    assert_problem(client.post("/jobs/tag", json={"jobs": [job_id]}), 422, "invalid_request")
    reading = bearer(make_key(engine, scope=Scope.READ))
    assert_problem(client.post("/jobs/cancel", json={"jobs": [job_id]}, headers=reading), 403, "forbidden")
