"""ETags and long polling."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.conftest import ON_SQLITE
from tests.support.factories import queued, spec
from tests.support.runs import claim, succeed, train
from tests.support.statements import statements
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.repositories.jobs import control, crud, leases
from ttm_jobs.storage import Storage


def cancel(engine: Engine, job_id: str) -> None:
    with session_scope(engine) as session:
        control.request_cancel(session, job_id)


def test_unchanged_job_is_not_modified(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    first = client.get(f"/jobs/{job_id}")
    etag = first.headers["etag"]
    for condition in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        poll = client.get(f"/jobs/{job_id}", headers={"If-None-Match": condition})
        assert (poll.status_code, poll.content, poll.headers["etag"]) == (304, b"", etag)
    train(engine, claim(engine, job_id), range(1, 2))
    changed = client.get(f"/jobs/{job_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_the_etag_of_a_name_changes_when_another_job_takes_it(client: TestClient, engine: Engine) -> None:
    old, new = (queued(engine, spec=spec(name=name)) for name in ("nightly", "other"))
    seen = client.get("/jobs/nightly")
    with session_scope(engine) as session:
        for job_id, name in ((old, "before"), (new, "nightly")):
            crud.rename(session, job_id, name=name)
    with read_scope(engine) as session:
        assert crud.stamp(session, old).version == crud.stamp(session, new).version
    for etag in (seen.headers["etag"], client.get(f"/jobs/{old}").headers["etag"]):
        answer = client.get("/jobs/nightly", headers={"If-None-Match": etag, "Prefer": "wait=60"})
        assert (answer.status_code, answer.json()["id"]) == (200, new)


def test_cached_job_is_current_and_takes_one_read(client: TestClient, engine: Engine, storage: Storage) -> None:
    job_id = queued(engine)

    def rename() -> None:
        with session_scope(engine) as session:
            crud.rename(session, job_id, name="other")

    def beat() -> None:
        with session_scope(engine) as session:
            leases.heartbeat(session, lease, duration=timedelta(minutes=1))

    def read_job() -> dict[str, Any]:
        executed.clear()
        return dict(client.get(f"/jobs/{job_id}").json())

    # The finalizer of uploads reads its own table now and then.
    with statements(
        Engine, lambda sql: sql.startswith("SELECT") and "uploads" not in sql and " AS now" not in sql
    ) as executed:
        seen = [read_job()]
        assert read_job() == seen[-1]
        assert len(executed) == 1
        lease = claim(engine, job_id)
        for change in (
            rename,
            lambda: time.sleep(0.002) or beat(),
            lambda: train(engine, lease, range(1, 2)),
            lambda: succeed(engine, storage, lease),
        ):
            change()
            assert read_job() != seen[-1]
            seen.append(read_job())
            assert len(executed) == 1
    assert seen[-1]["artifacts"]
    retried = queued(engine, retry_of=job_id)
    assert client.get(f"/jobs/{retried}").json()["retry_of"] == job_id
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert client.get(f"/jobs/{retried}").json()["retry_of"] is None


def test_unchanged_list_is_not_modified(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    etag = client.get("/jobs").headers["etag"]
    assert client.get("/jobs", headers={"If-None-Match": etag}).status_code == 304
    cancel(engine, job_id)
    changed = client.get("/jobs", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    queued(engine)
    assert client.get("/jobs", headers={"If-None-Match": changed.headers["etag"]}).status_code == 200


def test_long_poll_returns_when_the_job_changes(live: str, engine: Engine) -> None:
    job_id = queued(engine)
    etag = httpx2.get(f"{live}/jobs/{job_id}").headers["etag"]
    headers = {"If-None-Match": etag, "Prefer": "respond-async, wait=60"}
    with ThreadPoolExecutor(10) as pool:
        # The client gives up before the wait of the request ends.
        waiting = [pool.submit(httpx2.get, f"{live}/jobs/{job_id}", headers=headers, timeout=600) for _ in range(10)]
        cancel(engine, job_id)
        answers = [each.result() for each in waiting]
    assert {answer.json()["state"] for answer in answers} == {"cancelled"}
    assert answers[0].headers["preference-applied"] == "wait=60"


def test_long_poll_returns_after_its_wait_time(live: str, engine: Engine) -> None:
    job_id = queued(engine)
    etag = httpx2.get(f"{live}/jobs/{job_id}").headers["etag"]
    started = time.monotonic()
    answer = httpx2.get(f"{live}/jobs/{job_id}", headers={"If-None-Match": etag, "Prefer": "wait=1"}, timeout=600)
    assert answer.status_code == 304
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("prefer", ["wait=5", "wait=x", "wait=-1", "nowait=5", ""])
@ON_SQLITE
def test_request_without_an_etag_does_not_wait(client: TestClient, engine: Engine, prefer: str) -> None:
    job_id = queued(engine)
    answer = client.get(f"/jobs/{job_id}", headers={"Prefer": prefer})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


def test_disconnected_clients_hold_no_threads(live: str, engine: Engine) -> None:
    job_id = queued(engine)
    etag = httpx2.get(f"{live}/jobs/{job_id}").headers["etag"]
    headers = {"If-None-Match": etag, "Prefer": "wait=60"}
    # More clients than the server has threads.
    for _ in range(45):
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(f"{live}/jobs/{job_id}", headers=headers, timeout=httpx2.Timeout(50, read=0.05))
    assert httpx2.get(f"{live}/jobs/{job_id}", timeout=600).status_code == 200
