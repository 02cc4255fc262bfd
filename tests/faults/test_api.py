"""A killed or restarted API: accepted jobs run, and event streams miss no event."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread

import httpx2
import pytest

from tests.support.api_server import wait_until_up
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from ttm_client import Client
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import OutboxMessage
from ttm_jobs.processes import die_with_parent
from ttm_jobs.states import JobState


class Api:
    """`python -m api` on a socket owned by the test, so that restarted processes keep the address."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self) -> None:
        descriptor = self.listener.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api", "--fd", str(descriptor)],
            env=self.stack.environment(self.stack.directory),
            pass_fds=(descriptor,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        )
        self.stack.processes.append(self.process)
        wait_until_up(self.url, self.process)

    def submit(self, name: str) -> str:
        body = {"name": name, "student": "cifar/resnet20", "dataset": self.stack.data.as_uri(), "method": "ce"}
        response = httpx2.post(f"{self.url}/jobs", json=body, timeout=60)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    api = Api(stack)
    api.start()
    yield api
    api.listener.close()


@pytest.mark.fault("crash between commit and wake-up message")
def test_job_of_a_killed_api_is_announced_by_the_dispatcher(stack: Stack, api: Api) -> None:
    job_id = api.submit("steps=3")
    api.process.kill()
    api.process.wait()
    with read_scope(stack.engine) as session:
        assert session.query(OutboxMessage).count() == 1, "the wake-up message is still pending"
    stack.start_worker()
    stack.start_dispatcher()
    stack.wait_for(job_id, JobState.SUCCEEDED)


@pytest.mark.thorough
@pytest.mark.fault("API restarted during POST and events")
def test_restarted_api_keeps_all_jobs_and_event_streams_continue(stack: Stack, api: Api) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    followed = api.submit("steps=120 step_seconds=0.02")
    received: list[int] = []

    def listen() -> None:
        with Client(api.url) as client:
            received.extend(int(event.id) for event in client.jobs.events(followed) if event.kind != "progress")

    listener = Thread(target=listen, daemon=True)
    listener.start()
    wait_until(lambda: stack.step(followed) > 10)
    accepted: list[str] = []
    posting = Thread(target=lambda: accepted.extend(submissions(api, 8)), daemon=True)
    posting.start()
    time.sleep(0.1)
    api.process.terminate()
    api.process.wait(60)
    api.start()
    posting.join(120)
    assert len(accepted) == 8
    for job_id in accepted:
        stack.wait_for(job_id, JobState.SUCCEEDED)
    listener.join(120)
    assert not listener.is_alive()
    stream = httpx2.get(f"{api.url}/jobs/{followed}/events", timeout=60).text
    kinds = [line.removeprefix("event: ") for line in stream.splitlines() if line.startswith("event: ")]
    numbers = [int(line.removeprefix("id: ")) for line in stream.splitlines() if line.startswith("id: ")]
    kept = [number for number, kind in zip(numbers, kinds, strict=True) if kind != "progress"]
    assert received == kept, "no event is missing or repeated"


def submissions(api: Api, count: int) -> Iterator[str]:
    """Posts jobs until `count` are accepted. Retries if the connection breaks."""
    while count:
        try:
            yield api.submit("steps=1")
        except httpx2.TransportError:
            continue
        count -= 1
