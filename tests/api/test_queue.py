"""The queue: claim order, blocked reasons and project positions."""

import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text, update

from api.app import create_app
from api.http.pagination import encode_cursor
from tests.api.test_bad_requests import assert_problem
from tests.api.test_job_lists import explain
from tests.browser.gallery import create_many
from tests.support.factories import claimed, create_job, queued
from tests.support.statements import statements
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Job
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from ttm_jobs.settings import Settings

GIB = 1 << 30
# A valid id of no job.
UNKNOWN_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


def worker(engine: Engine, name: str, *queues: str, memory: int | None = None, job_id: str | None = None) -> None:
    devices = [{"kind": "cuda", "count": 1, "name": "a GPU", "memory_bytes": memory}]
    with session_scope(engine) as session:
        workers.register(
            session,
            name,
            kind="worker",
            hostname="h",
            pid=1,
            devices=devices,
            job_id=job_id,
            queues=queues or ("default",),
        )


def queue_page(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get("/queue/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def all_pages(client: TestClient, limit: int) -> list[dict[str, Any]]:
    """The jobs of all pages of the queue."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = client.get("/queue/jobs", params=params).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return found


def test_queue_is_in_claim_order(client: TestClient, engine: Engine) -> None:
    made = {queued(engine, priority=priority): priority for priority in (5, 9, 5, 0, 9, 3, 5)}
    shown = all_pages(client, 2)
    assert [job["position"] for job in shown] == list(range(1, 8))
    taken = []
    for _ in made:
        with session_scope(engine) as session:
            lease = leases.claim_next(session, "w", duration=timedelta(minutes=1), capacity=WorkerCapacity())
        assert lease is not None
        taken.append(lease.job_id)
    assert [job["id"] for job in shown] == taken
    assert queue_page(client) == []


def test_positions_are_recounted_after_a_claim(client: TestClient, engine: Engine) -> None:
    first, *_ = [queued(engine) for _ in range(4)]
    cursor = client.get("/queue/jobs", params={"limit": 2}).json()["next_cursor"]
    assert [job["position"] for job in queue_page(client, cursor=cursor)] == [3, 4]
    claimed(engine, first)
    assert [job["position"] for job in queue_page(client, cursor=cursor)] == [2, 3]


def test_queued_jobs_show_their_blocked_reasons(client: TestClient, engine: Engine) -> None:
    large = queued(engine, device_memory_bytes=80 * GIB)
    small = queued(engine, device_memory_bytes=16 * GIB, owner="ana")

    def reasons() -> dict[str, str]:
        return {job["id"]: job["blocked_on"] for job in queue_page(client)}

    assert reasons() == {large: "worker", small: "worker"}
    worker(engine, "w1", "other", memory=80 * GIB)
    assert reasons() == {large: "worker", small: "worker"}
    worker(engine, "w2", memory=24 * GIB)
    assert reasons() == {large: "memory", small: "queue"}
    with session_scope(engine) as session:
        projects.ensure(session, "default").max_running_jobs = 1
        again = create_job(session)
        again.not_before = now(session) + timedelta(minutes=5)
    assert reasons()[again.id] == "time"
    claimed(engine, small)
    assert reasons() == {large: "memory", again.id: "time"}
    third = queued(engine)
    assert reasons()[third] == "limit"
    shown = queue_page(client)[0]
    assert (shown["device_memory_bytes"], shown["attempt"], shown["owner"]) == (80 * GIB, 0, None)
    assert shown["blocked_reason"] == client.get(f"/jobs/{large}").json()["blocked_reason"]


def test_queues_show_workers_and_project_positions(client: TestClient, settings: Settings, engine: Engine) -> None:
    with session_scope(engine) as session:
        projects.ensure(session, "other")
    with session_scope(bound_to(engine, "other")) as session:
        foreign_job = create_job(session).id
        create_job(session, queue="other-project")
    held = queued(engine)
    claimed(engine, held)
    queued(engine), queued(engine, queue="gpu")
    worker(engine, "w1", "default", "gpu", job_id=held)
    worker(engine, "w2", "gpu")
    several = settings.model_copy(update={"queues": ("gpu", "default", "unused")})
    with TestClient(create_app(several)) as client:
        seen = client.get("/queue").json()
        listed = queue_page(client, queue="default")
    assert (seen["depth"], seen["running"], seen["idle_workers"]) == (2, 1, 1)
    queues_by_name = {each.pop("name"): each for each in seen["queues"]}
    assert list(queues_by_name) == ["gpu", "default", "unused"], (
        "queues with jobs of other projects only are not listed"
    )
    assert all((each.pop("oldest_age_seconds") is not None) == bool(each["depth"]) for each in queues_by_name.values())
    assert queues_by_name == {
        "gpu": {"depth": 1, "workers": 2, "idle_workers": 1, "projects": 1, "project_position": 1},
        # The other project runs no job, so it comes first.
        "default": {"depth": 1, "workers": 1, "idle_workers": 0, "projects": 2, "project_position": 2},
        "unused": {"depth": 0, "workers": 0, "idle_workers": 0, "projects": 0, "project_position": None},
    }
    assert foreign_job not in {job["id"] for job in listed}


@pytest.mark.parametrize(
    "params",
    [{"cursor": "x"}, {"cursor": encode_cursor("queue", [10**30, 0, UNKNOWN_ID])}, {"limit": 0}, {"queue": "x" * 65}],
)
def test_invalid_parameters_are_refused(shared_client: TestClient, params: dict[str, Any]) -> None:
    code = "invalid_cursor" if "cursor" in params else "invalid_request"
    assert_problem(shared_client.get("/queue/jobs", params=params), 422, code)


def test_page_of_a_long_queue_is_an_index_range(client: TestClient, engine: Engine) -> None:
    create_many(engine, 5000)
    with session_scope(engine) as session:
        session.execute(update(Job).where(Job.name.like("sweep %7")).values(priority=8, rank=17))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    own: Engine = client.app.state.services.engine  # type: ignore[attr-defined]
    with statements(own, lambda sql: sql.startswith("SELECT jobs.") and "ORDER BY jobs.rank" in sql) as executed:
        cursor = client.get("/queue/jobs", params={"limit": 200}).json()["next_cursor"]
        assert len(queue_page(client, cursor=cursor, limit=200)) == 200
        assert len(queue_page(client, cursor=cursor)) == 50
        assert len(executed) >= 3
        for statement, parameters in executed:
            plan = explain(engine, statement, parameters)
            # SQLite may read queued jobs by time instead, which is an index range as well.
            assert "ix_jobs_waiting" in plan or "ix_jobs_state_newest" in plan, plan
            assert "Seq Scan" not in plan, plan
            # Sorts only jobs of the same time.
            assert "TEMP B-TREE" not in re.sub("TEMP B-TREE FOR (LAST TERM|RIGHT PART) OF", "", plan), plan
            assert "Sort" not in plan.replace("Incremental Sort", "").replace("Sort Key", ""), plan
