"""The event stream: every event once and in order, across reconnects, for any number of listeners."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, delete, event

from api.live import feed
from tests.api.test_bad_requests import assert_problem
from tests.support.runs import claim, fail, succeed, train
from tests.support.tiny import wait_until
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job
from ttm_jobs.repositories.run_data import events
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Received:
    number: int
    kind: str
    data: dict[str, Any]


@pytest.fixture
def job_id(live: str, settings: Settings) -> str:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    answer = httpx2.post(f"{live}/jobs", json=body)
    return str(answer.json()["id"])


def listen(live: str, job_id: str, after: int | None = None, *, timeout: float = 60) -> Iterator[Received]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with httpx2.Client(timeout=timeout) as http, http.sse(f"{live}/jobs/{job_id}/events", headers=headers) as source:
        assert source.response.status_code == 200
        for message in source:
            body = json.loads(message.data)
            assert body["kind"] == message.event
            yield Received(int(message.id), message.event, body["data"])


def stored(engine: Engine, job_id: str) -> list[int]:
    with read_scope(engine) as session:
        return [row.number for row in events.after(session, job_id, 0, limit=10_000)]


def test_stream_of_a_finished_job_is_complete(live: str, engine: Engine, storage: Storage, job_id: str) -> None:
    lease = claim(engine, job_id)
    train(engine, lease, range(1, 20))
    succeed(engine, storage, lease)
    received = list(listen(live, job_id))
    assert [message.number for message in received] == stored(engine, job_id)
    assert received[0].data["state"] == "queued"
    assert received[-1].data["state"] == "succeeded"
    assert [message.data["step"] for message in received if message.kind == "metrics"] == list(range(1, 20))


def test_events_arrive_while_the_job_runs(live: str, engine: Engine, storage: Storage, job_id: str) -> None:
    lease = claim(engine, job_id)
    stream = listen(live, job_id)
    assert [next(stream).data["state"], next(stream).data["state"]] == ["queued", "running"]
    for step in range(1, 4):
        train(engine, lease, range(step, step + 1))
        # The next step is recorded only after the event of this step has arrived.
        while next(stream).kind != "metrics":
            pass
    fail(engine, lease)
    *_, last = stream
    assert last.data["state"] == "failed"


def test_resumed_stream_misses_and_repeats_no_event(live: str, engine: Engine, storage: Storage, job_id: str) -> None:
    lease = claim(engine, job_id)
    seen: list[Received] = []
    writer = threading.Thread(target=lambda: (train(engine, lease, range(1, 60)), succeed(engine, storage, lease)))
    writer.start()
    deadline = time.monotonic() + 120
    # The connection breaks after every fourth event.
    while not seen or seen[-1].data.get("state") != "succeeded":
        for message, _ in zip(listen(live, job_id, seen[-1].number if seen else None), range(4), strict=False):
            seen.append(message)
        assert time.monotonic() < deadline
    writer.join()
    numbers = [message.number for message in seen]
    assert numbers == sorted(set(numbers))
    assert [message.data["step"] for message in seen if message.kind == "metrics"] == list(range(1, 60))
    # Only superseded progress events may be missing.
    assert set(stored(engine, job_id)) <= set(numbers)


def test_stream_after_the_last_event_is_empty(live: str, engine: Engine, job_id: str) -> None:
    fail(engine, claim(engine, job_id))
    last = stored(engine, job_id)[-1]
    for after in (last, last + 100, 10**20):
        answer = httpx2.get(f"{live}/jobs/{job_id}/events", headers={"Last-Event-ID": str(after)})
        assert (answer.status_code, answer.content) == (204, b"")


def test_stream_of_a_deleted_job_ends(live: str, engine: Engine, job_id: str) -> None:
    streams = [listen(live, job_id), listen(live, job_id)]
    assert [next(stream).data["state"] for stream in streams] == ["queued", "queued"]
    # Alone, so that the streams have no chance to read the event of a cancellation before.
    with session_scope(engine) as session:
        session.execute(delete(Job).where(Job.id == job_id))
    assert [list(stream) for stream in streams] == [[], []]
    assert_problem(httpx2.get(f"{live}/jobs/{job_id}/events"), 404, "job_not_found")


def test_invalid_requests_are_refused_before_the_stream(live: str, job_id: str) -> None:
    assert_problem(httpx2.get(f"{live}/jobs/{new_id()}/events"), 404, "job_not_found")
    for wrong in ("x", "-1", "1.5", "²"):
        answer = httpx2.get(f"{live}/jobs/{job_id}/events", headers=[(b"Last-Event-ID", wrong.encode())])
        assert_problem(answer, 422, "invalid_request")


def test_idle_stream_gets_pings(live: str, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.live.feed._PING_SECONDS", 0.2)
    with httpx2.stream("GET", f"{live}/jobs/{job_id}/events", timeout=600) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        lines = answer.iter_lines()
        assert any(line == ": ping" for line in lines)


def test_default_ping_interval_is_15_seconds() -> None:
    assert feed._PING_SECONDS == 15.0


def test_listeners_share_one_poller(live: str, engine: Engine, storage: Storage, job_id: str) -> None:
    lease = claim(engine, job_id)
    count, steps = 20, range(1, 11)
    results: list[list[Received]] = [[] for _ in range(count)]
    threads = [threading.Thread(target=lambda own=own: own.extend(listen(live, job_id))) for own in results]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(results))
    reads = 0

    def count_reads(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal reads
        reads += "FROM job_events" in statement and threading.current_thread().name != "MainThread"

    event.listen(Engine, "before_cursor_execute", count_reads)
    train(engine, lease, steps)
    succeed(engine, storage, lease)
    for thread in threads:
        thread.join(60)
    event.remove(Engine, "before_cursor_execute", count_reads)
    assert all([m.data["step"] for m in result if m.kind == "metrics"] == list(steps) for result in results)
    # One reader for all listeners: far fewer reads than one per listener and event.
    assert reads < count * len(steps) / 4


def test_listener_behind_the_buffer_continues_from_the_database(
    live: str, engine: Engine, storage: Storage, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_MAX_RECENT", 3)
    monkeypatch.setattr(feed, "_PAGE", 4)
    lease = claim(engine, job_id)
    slow = listen(live, job_id)
    next(slow)
    train(engine, lease, range(1, 40))
    succeed(engine, storage, lease)
    assert [m.data["step"] for m in slow if m.kind == "metrics"] == list(range(1, 40))
