"""The asyncio client: concurrent calls, retries and dropped connections."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.asynchronous import run_async
from tests.support.flaky_proxy import FlakyProxy
from tests.support.runs import STUDENT_BYTES, claim, fail, succeed, train
from tests.ttm_client.test_client import scripted
from ttm_client import AsyncClient, Client, ConnectionFailed, Job
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def run(url: str, work: Callable[[AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    """Runs `work` with a new client."""

    async def connected() -> Any:
        async with AsyncClient(url) as client:
            return await work(client)

    return run_async(connected())


def test_a_client_in_a_second_event_loop_says_what_to_do(url: str) -> None:
    client = AsyncClient(url)

    async def names() -> list[str]:
        return [model.name async for model in client.architectures.list("cifar/resnet20")]

    assert run_async(names()) == ["cifar/resnet20"]
    for work in (names, client.close):
        with pytest.raises(RuntimeError, match=r"another event loop. Create an AsyncClient in each asyncio\.run\(\)"):
            run_async(work())


def test_closing_twice_and_requests_after_it(url: str) -> None:
    async def work() -> None:
        async with AsyncClient(url) as client:
            await client.usage()
            await client.close()
        await client.close()
        with pytest.raises(RuntimeError, match="has been closed"):
            await client.usage()

    run_async(work())


def test_concurrent_submissions_and_waits(url: str, engine: Engine, settings: Settings) -> None:
    dataset = settings.data_roots[0].as_uri()

    async def work(client: AsyncClient) -> list[Job]:
        made = await asyncio.gather(
            *(client.jobs.create(student="resnet18", dataset=dataset, method="ce", name=f"{n}") for n in range(5))
        )
        waits = [asyncio.create_task(client.jobs.wait(job.id, 60, interval=0.05)) for job in made]
        for job in made:
            lease = await asyncio.to_thread(claim, engine, job.id)
            await asyncio.to_thread(fail, engine, lease)
        ended = await asyncio.gather(*waits)
        assert {job.id async for job in client.jobs.list()} == {job.id for job in made}
        return ended

    ended = run(url, work)
    assert [(job.name, job.state) for job in ended] == [(str(n), "failed") for n in range(5)]


def test_events_and_downloads_survive_broken_connections(
    url: str, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    lease = claim(engine, job_id)

    def train_and_end() -> None:
        train(engine, lease, range(1, 40))
        succeed(engine, storage, lease)

    async def events(client: AsyncClient) -> list[Any]:
        writer = asyncio.create_task(asyncio.to_thread(train_and_end))
        found = [event async for event in client.jobs.events(job_id)]
        await writer
        return found

    with FlakyProxy(url, 2000) as proxy:
        found = run(proxy.url, events)
        assert proxy.connections > 3
    assert [event.data["step"] for event in found if event.kind == "metrics"] == list(range(1, 40))
    assert found[-1].data["state"] == "succeeded"
    with FlakyProxy(url, 300_000) as proxy:
        path = run(proxy.url, lambda client: client.jobs.download_student(job_id, tmp_path / "student"))
        assert proxy.connections >= 5
    assert path.read_bytes() == STUDENT_BYTES


def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("ttm_client.asynchronous.transport.asyncio.sleep", pause)
    with scripted([(429, {"Retry-After": "7"}), (503, {})]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert run(f"http://127.0.0.1:{server.server_port}", lambda client: client.uploads.get("u")).id == "u"
        server.shutdown()
    assert pauses[0] == 7.0
    assert 0 < pauses[1] < 2


def test_submission_with_lost_response_creates_one_job(url: str, client: Client, settings: Settings) -> None:
    spec: dict[str, Any] = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    with FlakyProxy(url, 100, broken=1) as proxy:
        job = run(proxy.url, lambda asynchronous: asynchronous.jobs.create(**spec))
        assert proxy.connections == 2
    assert [each.id for each in client.jobs.list()] == [job.id]


def test_unreachable_service() -> None:
    with pytest.raises(ConnectionFailed, match="Cannot connect"):
        run(f"http://127.0.0.1:{free_port()}", lambda client: client.jobs.get("x"))
