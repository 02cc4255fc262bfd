"""`wait` of jobs and studies until its timeout."""

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.asynchronous import run_async
from tests.support.studies import create_study
from ttm_client import AsyncClient, Client, WaitTimeout


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


def test_the_timeout_is_an_error(client: Client, waited: tuple[str, str]) -> None:
    kind, identifier = waited
    for timeout in (0.0, 0.05):
        with pytest.raises(WaitTimeout, match=f"after {timeout:g} s"):
            getattr(client, kind).wait(identifier, timeout, interval=0.02)
