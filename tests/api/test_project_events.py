"""The event stream of a project: all its jobs and studies, once and in order, and nothing of other projects."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, insert, text

from tests.api.test_access import bearer, make_key
from tests.api.test_bad_requests import assert_problem
from tests.api.test_job_lists import explain
from tests.support.factories import queued
from tests.support.runs import claim, fail, succeed, train
from tests.support.statements import statements
from tests.support.studies import advance, create_study
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import ProjectEvent
from ttm_jobs.repositories.access import keys
from ttm_jobs.repositories.jobs import control
from ttm_jobs.repositories.run_data import project_events
from ttm_jobs.storage import Storage

Event = dict[str, Any]


def listen(live: str, after: int | None = 0, *, key: dict[str, str] | None = None, **query: Any) -> Iterator[Event]:
    """Events from the server, including the id at the start."""
    headers = {**(key or {}), **({} if after is None else {"Last-Event-ID": str(after)})}
    with (
        httpx2.Client(timeout=60) as http,
        http.sse(f"{live}/events", headers=headers, params=query) as source,
    ):
        assert source.response.status_code == 200
        for message in source:
            body = json.loads(message.data) if message.data else {"kind": None, "data": {}}
            assert not message.data or body["kind"] == message.event
            yield {"id": int(message.id), **body}


def stored(engine: Engine, project: str = "default") -> list[int]:
    with read_scope(engine) as session:
        return [row.number for row in project_events.after(session, project, 0)]


def test_jobs_and_studies_share_a_stream_that_resumes(
    live: str, engine: Engine, storage: Storage, tmp_path: Path
) -> None:
    new = listen(live, after=None)
    assert next(new)["id"] == 0
    first = queued(engine, name="first")
    lease = claim(engine, first)
    train(engine, lease, range(1, 4))
    succeed(engine, storage, lease)
    second = queued(engine)
    fail(engine, claim(engine, second))
    study = create_study(engine, tmp_path.as_uri(), name="kiosk")
    advance(engine)
    total = len(stored(engine))
    received = list(islice(new, total))
    assert [each["id"] for each in received] == list(range(1, total + 1))
    of_first = [each for each in received if each["data"].get("job_id") == first]
    assert [(each["kind"], each["data"].get("state", each["data"].get("phase"))) for each in of_first] == [
        ("job.state", "queued"),
        ("job.state", "running"),
        ("job.phase", "training"),
        ("job.state", "succeeded"),
    ]
    assert {each["data"]["name"] for each in of_first} == {"first"}
    assert received[-1]["kind"] in ("job.state", "study.stage")
    assert study in {each["data"].get("study_id") for each in received}
    resumed = list(islice(listen(live, 3), total - 2))
    assert resumed[0]["id"] == 3
    assert resumed[1:] == received[3:]
    states = list(islice(listen(live, type=["study.state", "job.state"]), 1, 5))
    assert {each["kind"] for each in states} <= {"study.state", "job.state"}
    (created,) = islice(listen(live, type="study.state"), 1, 2)
    assert created["data"]["study_id"] == study


def test_events_of_concurrent_transactions_are_neither_lost_nor_repeated(live: str, engine: Engine) -> None:
    count, threads = 12, 4
    stream = listen(live, after=None)
    next(stream)

    def run() -> None:
        for _ in range(count):
            with session_scope(engine) as session:
                control.request_cancel(session, queued(engine))

    # A job is queued, cancelling and cancelled.
    total = 3 * count * threads
    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    received = list(islice(stream, total))
    for thread in running:
        thread.join()
    assert [each["id"] for each in received] == list(range(1, total + 1)) == stored(engine)


def test_transaction_that_rolls_back_leaves_no_event(engine: Engine) -> None:
    job_id = queued(engine)

    def cancel_and_fail() -> None:
        with session_scope(engine) as session:
            control.request_cancel(session, job_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cancel_and_fail()
    assert stored(engine) == [1]


def test_stream_is_of_the_keys_project_and_follows_deletions(live: str, engine: Engine) -> None:
    own, other = bearer(make_key(engine)), bearer(make_key(engine, "other"))
    mine, foreign = queued(engine), queued(bound_to(engine, "other"))
    assert next(islice(listen(live, key=own), 1, 2))["data"]["job_id"] == mine
    assert next(islice(listen(live, key=other), 1, 2))["data"]["job_id"] == foreign
    assert_problem(httpx2.get(f"{live}/events"), 401, "unauthorized")
    with session_scope(engine) as session:
        control.request_cancel(session, mine)
    assert len(stored(engine)) == 3
    assert httpx2.delete(f"{live}/jobs/{mine}", headers=own).status_code == 204
    assert stored(engine) == []
    assert len(stored(engine, "other")) == 1


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_stream_ends_with_its_credentials(live: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("api.live.feed._PING_SECONDS", 0.2)
    monkeypatch.setattr("api.auth.callers._CACHE_SECONDS", 0.2)
    kept, ended = make_key(engine), make_key(engine)
    headers = {"kept": bearer(kept), "ended": bearer(ended)}
    with httpx2.Client(timeout=60) as http, ExitStack() as streams:
        answers = {
            name: streams.enter_context(http.stream("GET", f"{live}/events", headers=each))
            for name, each in headers.items()
        }
        lines = {name: answer.iter_lines() for name, answer in answers.items()}
        for each in lines.values():
            assert [next(each) for _ in range(8)].count(": ping") > 1
        with session_scope(engine) as session:
            key = keys.find(session, ended)
            assert key is not None
            if how == "revoked":
                keys.revoke(session, key.id)
            else:
                key.expires_at = now(session)
        for _ in lines["ended"]:
            pass
        assert [next(lines["kept"]) for _ in range(8)].count(": ping") > 1


def test_invalid_requests_are_refused_and_filtered_streams_get_pings(
    live: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for query in ({"type": "metrics"}, {"after": -1}):
        assert_problem(httpx2.get(f"{live}/events", params=query), 422, "invalid_request")
    assert_problem(httpx2.get(f"{live}/events", headers={"Last-Event-ID": "x"}), 422, "invalid_request")
    monkeypatch.setattr("api.live.feed._PING_SECONDS", 0.2)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            queued(engine)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with httpx2.stream("GET", f"{live}/events", params={"type": "study.state"}, timeout=60) as answer:
            assert any(line == ": ping" for line in answer.iter_lines())
    finally:
        stop.set()
        thread.join()


def test_page_of_events_is_an_index_range(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session:
        at = now(session)
    rows = [
        {"project_id": project, "number": 10 + number, "kind": "job.phase", "job_id": job_id, "data": {}, "at": at}
        for number in range(1500)
        for project in ("default", "other")
    ]
    with engine.begin() as connection:
        connection.execute(insert(ProjectEvent.__table__), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    with statements(engine, lambda sql: "FROM project_events" in sql) as executed:
        with read_scope(engine) as session:
            assert len(project_events.after(session, "default", 0, limit=20)) == 20
        ((statement, parameters),) = executed
    plan = explain(engine, statement, parameters)
    assert "pk_project_events" in plan or "PRIMARY KEY" in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan
