"""`wait` of jobs and studies until its timeout."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.asynchronous import run_async
from tests.support.studies import create_study
from ttm_client import AsyncClient, Client, ConnectionFailed, WaitTimeout
from ttm_client.asynchronous import polling as asynchronous_polling
from ttm_client.asynchronous.resources.jobs import AsyncJobs
from ttm_client.asynchronous.resources.studies import AsyncStudies
from ttm_client.synchronous import polling
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.resources.studies import Studies


@pytest.fixture(params=["jobs", "studies"])
def waited(request: pytest.FixtureRequest, client: Client, engine: Engine) -> tuple[str, str]:
    """The kind and the id of a job or study that has not ended."""
    return request.param, create_study(engine) if request.param == "studies" else request.getfixturevalue("job_id")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_end_before_the_timeout_is_returned(
    client: Client, url: str, waited: tuple[str, str], asynchronous: bool
) -> None:
    """Also if the timeout is shorter than the interval between polls."""
    timeout = 5.0  # ten times as long as the first poll and the cancellation take on a busy machine
    kind, identifier = waited
    polls: list[str] = []

    def end(found: Any) -> None:
        polls.append(found.state)
        if len(polls) == 1:
            getattr(client, kind).cancel(identifier)

    async def wait() -> Any:
        async with AsyncClient(url) as other:
            return await getattr(other, kind).wait(identifier, timeout, end, interval=60.0)

    ended = run_async(wait()) if asynchronous else getattr(client, kind).wait(identifier, timeout, end, interval=60.0)
    assert ended.state == polls[-1] == "cancelled"
    assert len(polls) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_job_that_is_renamed_is_still_waited_for(
    client: Client, url: str, job_id: str, outage: Callable[[int, int], list[int]], asynchronous: bool
) -> None:
    client.jobs.update(job_id, name="pets")
    polls = outage(0, 0)

    def rename(found: Any) -> None:
        if not found.done:
            client.jobs.update(job_id, name="cats")
            client.jobs.cancel(job_id)

    ended = _wait(url, "jobs", "pets", asynchronous=asynchronous, on_update=rename)
    assert (ended.id, ended.name, ended.state, len(polls)) == (job_id, "cats", "cancelled", 2)


def test_the_timeout_is_an_error(client: Client, waited: tuple[str, str]) -> None:
    kind, identifier = waited
    for timeout in (0.0, 0.05):
        with pytest.raises(WaitTimeout, match=f"after {timeout:g} s"):
            getattr(client, kind).wait(identifier, timeout, interval=0.02)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[int]]:
    """Lets the polls with these numbers fail, and returns the numbers of all polls as they are made."""

    def fail(first: int, last: int) -> list[int]:
        polls: list[int] = []

        def poll() -> None:
            polls.append(len(polls) + 1)
            if first <= polls[-1] <= last:
                raise ConnectionFailed("Cannot connect")

        for resource in (Jobs, Studies):
            monkeypatch.setattr(resource, "get", _counted(resource.get, poll))
        for resource in (AsyncJobs, AsyncStudies):
            monkeypatch.setattr(resource, "get", _counted_async(resource.get, poll))
        for module in (polling, asynchronous_polling):
            monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
        return polls

    return fail


def _counted(get: Callable[..., Any], poll: Callable[[], None]) -> Callable[..., Any]:
    def counted(self: Any, identifier: str) -> Any:
        poll()
        return get(self, identifier)

    return counted


def _counted_async(get: Callable[..., Any], poll: Callable[[], None]) -> Callable[..., Any]:
    async def counted(self: Any, identifier: str) -> Any:
        poll()
        return await get(self, identifier)

    return counted


def _wait(url: str, kind: str, identifier: str, *, asynchronous: bool, **options: Any) -> Any:
    async def wait() -> Any:
        async with AsyncClient(url) as client:
            return await getattr(client, kind).wait(identifier, interval=0.01, **options)

    if asynchronous:
        return run_async(wait())
    with Client(url) as client:
        return getattr(client, kind).wait(identifier, interval=0.01, **options)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_wait_continues_after_an_outage(
    client: Client,
    url: str,
    waited: tuple[str, str],
    outage: Callable[[int, int], list[int]],
    asynchronous: bool,
) -> None:
    kind, identifier = waited
    polls = outage(2, 5)
    updates: list[str] = []

    def end(found: Any) -> None:
        updates.append(found.state)
        if len(updates) == 1:
            getattr(client, kind).cancel(identifier)

    ended = _wait(url, kind, identifier, asynchronous=asynchronous, on_update=end)
    assert ended.state == updates[-1] == "cancelled"
    assert (len(polls), len(updates)) == (6, 2)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("options", [{"reconnect_timeout": 0.5}, {"timeout": 0.5}])
def test_wait_gives_up_after_a_long_outage(
    url: str,
    waited: tuple[str, str],
    outage: Callable[[int, int], list[int]],
    options: dict[str, float],
    asynchronous: bool,
) -> None:
    polls = outage(2, 10**6)
    with pytest.raises(ConnectionFailed):
        _wait(url, *waited, asynchronous=asynchronous, **options)
    assert len(polls) >= 2, "one answer, then failures until the time is over"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_wait_for_an_unreachable_service_fails_at_once(
    url: str, waited: tuple[str, str], outage: Callable[[int, int], list[int]], asynchronous: bool
) -> None:
    polls = outage(1, 10**6)
    with pytest.raises(ConnectionFailed):
        _wait(url, *waited, asynchronous=asynchronous)
    assert polls == [1]
