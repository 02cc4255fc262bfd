"""Query plans with 500 studies of 30 trials: lists, pages and the dispatcher's step read index ranges."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, Engine, insert, select, text

from api.app import create_app
from tests.api.conftest import make_settings
from tests.api.test_job_lists import explain
from tests.support.statements import is_read_of_request, statements
from tests.support.studies import advance, create_study, study_of
from tests.support.study_jobs import end_jobs
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job, Study, StudyCandidate
from ttm_jobs.models.base import Json

_STUDIES, _TRIALS = 500, 30


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(make_settings(database_url, tmp_path))) as client:
        yield client


def fill(engine: Engine, study_id: str) -> None:
    """Copies a study with a screening job, each with 30 candidates and 30 trials."""
    with engine.begin() as connection:
        study: Json = dict(connection.execute(select(Study.__table__)).mappings().one())
        candidate: Json = dict(connection.execute(select(StudyCandidate.__table__)).mappings().first() or {})
        job: Json = dict(
            connection.execute(select(Job.__table__).where(Job.study_id == study_id)).mappings().first() or {}
        )
    # In several transactions, because their duration is limited.
    for first in range(0, _STUDIES, _STUDIES // 20):
        with engine.begin() as connection:
            for number in range(first, first + _STUDIES // 20):
                _copy(connection, number, study, candidate, job)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _copy(connection: Connection, number: int, study: Json, candidate: Json, job: Json) -> None:
    copy_id, at = new_id(), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    state = "running" if number % 10 else "succeeded"
    connection.execute(insert(Study.__table__), [study | {"id": copy_id, "created_at": at, "state": state}])
    trials = range(1, _TRIALS + 1)
    rows: list[dict[str, Any]] = [candidate | {"study_id": copy_id, "number": each} for each in trials]
    connection.execute(insert(StudyCandidate.__table__), rows)
    own = {"study_id": copy_id, "kind": "distill", "created_at": at, "state": "paused"}
    connection.execute(insert(Job.__table__), [job | own | {"id": new_id(), "candidate": each} for each in trials])


def test_studies_are_read_from_indexes_whatever_their_number(client: TestClient, engine: Engine) -> None:
    study_id = create_study(engine)
    advance(engine)
    fill(engine, study_id)
    own: Engine = client.app.state.services.engine  # type: ignore[attr-defined]

    with statements(own, lambda sql: sql.startswith("SELECT") and "studies" in sql) as executed:
        cursor = None
        for params in ({}, {"state": "succeeded"}):
            for _ in range(2):
                page = client.get(
                    "/studies", params={"limit": 20, **params, **({"cursor": cursor} if cursor else {})}
                ).json()
                cursor = page["next_cursor"]
                assert len(page["items"]) == 20
            cursor = None
    check(engine, executed, at_least=4)

    with statements(own, is_read_of_request) as executed:
        assert client.get(f"/studies/{study_id}").status_code == 200
        assert len(client.get(f"/studies/{study_id}/candidates").json()["items"]) == 4
        assert len(client.get("/jobs", params={"study": study_id}).json()["items"]) == 1
        assert client.get(f"/studies/{study_id}/replay").status_code == 200
    check(engine, executed, at_least=6)

    # The limits of the project.
    is_check = lambda sql: sql.startswith("SELECT") and ("count(*)" in sql or "project_storage" in sql)  # noqa: E731
    with statements(own, is_check) as executed:
        folder = client.app.state.services.settings.data_roots[0]  # type: ignore[attr-defined]
        body = {"student": "resnet18", "dataset": folder.as_uri(), "method": "ce"}
        assert client.post("/jobs", json=body).status_code == 201
        assert client.post("/uploads", content=b"x").status_code == 201
    check(engine, executed, at_least=3)

    # A whole study among the others: its steps read its own rows only.
    with statements(Engine, lambda sql: sql.startswith("SELECT") and ("study" in sql or "studies" in sql)) as executed:
        while study_of(engine, study_id).finished_at is None:
            end_jobs(engine, study_id)
            advance(engine)
    check(engine, executed, at_least=20)


def check(engine: Engine, executed: list[tuple[str, Any]], *, at_least: int) -> None:
    assert len(executed) >= at_least
    seen = set()
    for statement, parameters in executed:
        if statement in seen:
            continue
        seen.add(statement)
        plan = explain(engine, statement, parameters)
        # The queue and the workers are few rows.
        for table in ("jobs", "studies", "study_candidates", "study_events", "uploads", "artifacts", "checkpoints"):
            assert f"SCAN {table}" not in plan, (statement, plan)
            assert f"Seq Scan on {table}" not in plan, (statement, plan)
