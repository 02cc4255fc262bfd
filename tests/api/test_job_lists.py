"""Job lists, changes and deletion of jobs, dry runs, metrics and checkpoints."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, insert, select, text

from tests.api.conftest import ON_SQLITE
from tests.api.test_bad_requests import assert_problem
from tests.support.checkpoints import checkpoint
from tests.support.factories import claimed, create_job, job_of, queued
from tests.support.runs import claim, fail, succeed, train
from tests.support.statements import statements
from tests.support.studies import advance, create_study, jobs_of
from ttm_core.spec import catalogue
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Artifact, Job, JobTag, Metric, OutboxMessage
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def ids(client: TestClient, **params: Any) -> list[str]:
    answer = client.get("/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["items"]]


def test_filters_are_combined_with_and(client: TestClient, engine: Engine) -> None:
    with session_scope(engine) as session:
        a = create_job(session, name="a", tags=["pets", "nightly"], teacher="upload:1", owner="ana").id
        b = create_job(session, name="b", tags=["pets"], teacher="upload:2", owner="ben").id
        c = create_job(session, name="a", dataset="file:///" + "x" * 300 + "1").id
        create_job(session, name="c", dataset="file:///" + "x" * 300 + "2")
    claimed(engine, b)
    assert ids(client, name="a") == [c, a]
    assert ids(client, tag="pets") == [b, a]
    assert ids(client, tag=["nightly", "pets"]) == [a]
    assert ids(client, teacher="upload:2") == [b]
    assert ids(client, dataset="file:///" + "x" * 300 + "1") == [c]
    assert ids(client, state="running", tag="pets") == [b]
    assert ids(client, name="a", tag="pets", state="queued") == [a]
    assert ids(client, name="nobody") == []
    assert ids(client, owner="ana") == [a]
    assert ids(client, owner="ben", tag="pets") == [b]
    assert ids(client, owner="") == []
    moment = job_of(engine, b).created_at
    assert ids(client, created_before=moment.isoformat()) == [a]
    assert ids(client, created_after=moment.isoformat(), name="a") == [c]
    assert ids(client, created_after=(moment + timedelta(days=1)).isoformat()) == []


def test_jobs_of_a_study_and_jobs_of_none_are_listed(client: TestClient, engine: Engine) -> None:
    study_id, alone = create_study(engine), queued(engine, name="alone")
    advance(engine)
    (screen,) = jobs_of(engine, study_id)
    assert ids(client) == [screen.id, alone]
    assert ids(client, study=study_id) == [screen.id]
    assert ids(client, study="none") == [alone]
    assert ids(client, study="none", state=["queued", "running"]) == [alone]
    assert ids(client, study="none", name="nobody") == []
    changed = client.post("/jobs/cancel", json={"filter": {"study": "none"}, "dry_run": True}).json()
    assert [item["id"] for item in changed["items"]] == [alone]


def test_pages_of_filtered_lists_are_complete(client: TestClient, engine: Engine) -> None:
    with session_scope(engine) as session:
        made = [create_job(session, tags=["t"] if number % 2 else []).id for number in range(12)]
    for job_id in made[:4]:
        claimed(engine, job_id)
    for params, expected in (
        ({"tag": "t"}, [job_id for number, job_id in enumerate(made) if number % 2]),
        ({"state": ["queued", "running", "failed"]}, made),
        ({"state": ["running"]}, made[:4]),
    ):
        seen: list[str] = []
        cursor = None
        while True:
            page = client.get("/jobs", params={**params, "limit": 3, **({"cursor": cursor} if cursor else {})}).json()
            seen += [job["id"] for job in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == expected[::-1]


@pytest.mark.parametrize(
    "params",
    [
        {"created_after": "yesterday"},
        {"created_after": "1790000000"},
        {"created_after": "-1"},
        {"created_after": "2026-01-01T00:00:00"},
        {"created_after": "0001-01-01T00:00:00+14:00"},
        {"name": "a\x00"},
        {"tag": "\x00"},
        {"owner": "a\nb"},
        {"teacher": "x" * 2049},
        {"tag": ["t"] * 11},
    ],
)
def test_invalid_filters_are_refused(shared_client: TestClient, params: dict[str, Any]) -> None:
    assert_problem(shared_client.get("/jobs", params=params), 422, "invalid_request")


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "ix_jobs_newest"),
    ({"state": "failed"}, "ix_jobs_state_newest"),
    ({"state": ["failed", "queued"]}, "ix_jobs_state_newest"),
    ({"owner": "owner 7"}, "ix_jobs_owner_newest"),
    ({"tag": "tag7"}, "ix_job_tags_newest"),
    ({"teacher": "upload:7"}, "ix_jobs_teacher_newest"),
    ({"dataset": "file:///7"}, "ix_jobs_dataset_newest"),
    ({"study": "none"}, "ix_jobs_alone_newest"),
    ({"created_before": "2030-01-01T00:00:00Z"}, "ix_jobs_newest"),
]


def test_each_job_list_is_read_from_an_index(client: TestClient, engine: Engine) -> None:
    study_id = create_study(engine)
    with session_scope(engine) as session:
        row = {column.name: getattr(create_job(session), column.name) for column in Job.__table__.columns}
        rows = [
            {
                **row,
                "id": new_id(),
                "name": f"name {number % 100}",
                "owner": f"owner {number % 100}",
                "teacher": f"upload:{number % 100}",
                "dataset": f"file:///{number % 100}",
                "state": "failed" if number % 100 == 0 else "succeeded",
                "created_at": row["created_at"] + timedelta(seconds=number),
                # Most jobs belong to a study.
                "study_id": study_id if number % 100 else None,
                "candidate": number,
            }
            for number in range(8000)
        ]
        session.execute(insert(Job.__table__), rows)
        tags = [
            {"job_id": row["id"], "tag": f"tag{number % 100}", "project_id": "default", "created_at": row["created_at"]}
            for number, row in enumerate(rows)
        ]
        session.execute(insert(JobTag.__table__), tags)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    second = client.get("/jobs").json()["next_cursor"]
    own: Engine = client.app.state.services.engine  # type: ignore[attr-defined]
    with statements(own, lambda sql: sql.startswith("SELECT jobs.") and "ORDER BY" in sql) as executed:
        for params, index in FILTERS:
            for cursor in ({}, {"cursor": second}):
                executed.clear()
                ids(client, **params, **cursor)
                assert executed
                for statement, parameters in executed:
                    plan = explain(engine, statement, parameters)
                    assert index in plan, (params, plan)
                    assert "TEMP B-TREE" not in plan, (params, plan)
                    assert "Sort" not in plan.replace("Incremental Sort", ""), (params, plan)
                    assert "Seq Scan" not in plan, (params, plan)


def explain(engine: Engine, statement: str, parameters: Any) -> str:
    how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        rows = connection.exec_driver_sql(f"{how} {statement}", parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


def test_name_and_tags_can_be_changed_at_any_time(client: TestClient, engine: Engine, storage: Storage) -> None:
    job_id = queued(engine)
    etag = client.get(f"/jobs/{job_id}").headers["etag"]
    changed = client.patch(f"/jobs/{job_id}", json={"name": "new", "tags": ["b", "a", "b"]})
    assert (changed.json()["name"], changed.json()["tags"]) == ("new", ["a", "b"])
    assert client.get(f"/jobs/{job_id}").headers["etag"] != etag
    succeed(engine, storage, claim(engine, job_id))
    assert client.patch(f"/jobs/{job_id}", json={"tags": ["c"]}).json()["name"] == "new"
    assert (ids(client, tag="a"), ids(client, tag="c")) == ([], [job_id])
    assert client.patch(f"/jobs/{job_id}", json={"name": None}).json()["name"] is None
    assert client.patch(f"/jobs/{job_id}", json={}).json()["tags"] == ["c"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\x00"}, "/name"),
        ({"name": " \u00a0\u200b\u202e"}, "/name"),
        ({"tags": ["ok", "not ok"]}, "/tags/1"),
        ({"tags": ["x" * 65]}, "/tags/0"),
        ({"tags": [str(number) for number in range(21)]}, "/tags"),
        ({"state": "succeeded"}, "/state"),
    ],
)
@ON_SQLITE
def test_invalid_changes_are_refused(client: TestClient, engine: Engine, body: dict[str, Any], pointer: str) -> None:
    job_id = queued(engine)
    problem = assert_problem(client.patch(f"/jobs/{job_id}", json=body), 422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_finished_job_can_be_deleted(client: TestClient, engine: Engine, storage: Storage) -> None:
    job_id = queued(engine, tags=["t"])
    refusal = client.delete(f"/jobs/{job_id}")
    assert_problem(refusal, 409, "job_not_deletable")
    lease = claim(engine, job_id)
    train(engine, lease, range(1, 3))
    succeed(engine, storage, lease)
    other = queued(engine)
    fail(engine, claim(engine, other))
    again = client.post(f"/jobs/{other}/retry").json()["id"]
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert client.delete(f"/jobs/{other}").status_code == 204
    assert_problem(client.get(f"/jobs/{job_id}"), 404, "job_not_found")
    assert_problem(client.delete(f"/jobs/{job_id}"), 404, "job_not_found")
    assert client.get(f"/jobs/{again}").json()["retry_of"] is None
    with read_scope(engine) as session:
        for table in (Artifact, Metric, JobTag):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_dry_run_resolves_the_spec_and_creates_nothing(client: TestClient, engine: Engine, settings: Settings) -> None:
    upload = client.post("/uploads", content=checkpoint("mini/resnet8_150", 37)).json()["uri"]
    teacher = {"checkpoint": upload, "architecture": "mini/resnet8_150", "num_classes": 37}
    body = {"teacher": teacher, "student": "resnet18", "dataset": settings.data_roots[0].as_uri()}
    answer = client.post("/jobs/validate", json=body)
    assert answer.status_code == 200
    run = answer.json()
    assert run["spec"]["training"]["epochs"] is None, "the images decide"
    assert (run["student"]["parameters"], run["teachers"][0]["parameters"]) == (
        11_689_512,
        catalogue.find("mini/resnet8_150").parameters,
    )
    assert run["teacher_store_bytes_per_image"] == 74
    assert (run["memory_bytes"], run["seconds"]) == (None, None)
    # Two teachers, with one byte per logit.
    two = {"teachers": [teacher, teacher], "training": {"stored_as": "int8"}}
    stored = client.post("/jobs/validate", json={**body, "teacher": None, **two}).json()
    assert stored["teacher_store_bytes_per_image"] == 74
    assert (
        client.post("/jobs/validate", json={**body, "training": {"stored_as": "int8"}}).json()[
            "teacher_store_bytes_per_image"
        ]
        == 37
    )
    wrong = client.post("/jobs/validate", json={**body, "student": "resnet188"})
    assert_problem(wrong, 422, "unknown_architecture")
    with read_scope(engine) as session:
        for table in (Job, OutboxMessage):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_curves_are_thinned(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    train(engine, claim(engine, job_id), range(1, 2))
    with engine.begin() as connection:
        rows = [
            {"job_id": job_id, "name": "train/loss", "step": step, "epoch": step / 1000, "value": 1 / step}
            for step in range(10, 1_000_001, 10)
        ]
        connection.execute(insert(Metric.__table__), rows)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    address, params = f"/jobs/{job_id}/metrics", {"max_points": 500, "name": "train/loss"}
    page = client.get(address, params=params).json()
    steps = [point["step"] for point in page["items"]]
    assert (steps[0], steps[-1]) == (1, 1_000_000)
    assert 450 <= len(steps) <= 500
    assert max(later - earlier for earlier, later in pairwise(steps)) < 3000
    assert all(point["values"]["train/loss"] == pytest.approx(1 / point["step"]) for point in page["items"][1:])
    assert (page["has_more"], page["next_after_step"]) == (False, None)
    later = client.get(address, params={**params, "after_step": 999_900}).json()["items"]
    assert [point["step"] for point in later] == list(range(999_910, 1_000_001, 10))


def test_kept_checkpoints_are_listed(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    assert client.get(f"/jobs/{job_id}/checkpoints").json() == {"items": []}
