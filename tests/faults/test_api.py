"""An API that is killed or restarted: what it answered with 201 is done, and who listens misses nothing."""

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
    """`python -m api` on a socket of the test's, so that every process of it has the same address."""

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
        answer = httpx2.post(f"{self.url}/jobs", json=body, timeout=20)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    api = Api(stack)
    api.start()
    yield api
    api.listener.close()


@pytest.mark.fault("crash between commit and ring")
def test_killed_before_any_ring_the_job_is_rung_by_the_dispatcher(stack: Stack, api: Api) -> None:
    job_id = api.submit("steps=3")
    api.process.kill()
    api.process.wait()
    with read_scope(stack.engine) as session:
        assert session.query(OutboxMessage).count() == 1, "nobody has rung yet"
    stack.start_worker()
    stack.start_dispatcher()
    stack.wait_for(job_id, JobState.SUCCEEDED)


@pytest.mark.thorough
@pytest.mark.fault("API restarted during POST and events")
def test_restarted_it_forgets_no_job_and_its_listeners_go_on(stack: Stack, api: Api) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    followed = api.submit("steps=120 step_seconds=0.02")
    heard: list[int] = []

    def listen() -> None:
        with Client(api.url) as client:
            heard.extend(int(event.id) for event in client.jobs.events(followed) if event.kind != "progress")

    listener = Thread(target=listen, daemon=True)
    listener.start()
    wait_until(lambda: stack.step(followed) > 10)
    accepted: list[str] = []
    posting = Thread(target=lambda: accepted.extend(submissions(api, 8)), daemon=True)
    posting.start()
    time.sleep(0.1)
    api.process.terminate()
    api.process.wait(15)
    api.start()
    posting.join(30)
    assert len(accepted) == 8
    for job_id in accepted:
        stack.wait_for(job_id, JobState.SUCCEEDED)
    listener.join(30)
    assert not listener.is_alive()
    told = httpx2.get(f"{api.url}/jobs/{followed}/events", timeout=20).text
    kinds = [line.removeprefix("event: ") for line in told.splitlines() if line.startswith("event: ")]
    numbers = [int(line.removeprefix("id: ")) for line in told.splitlines() if line.startswith("id: ")]
    kept = [number for number, kind in zip(numbers, kinds, strict=True) if kind != "progress"]
    assert heard == kept, "without gap or repeat"


def submissions(api: Api, count: int) -> Iterator[str]:
    """Posts until so many are accepted; a connection that broke is no answer."""
    while count:
        try:
            yield api.submit("steps=1")
        except httpx2.TransportError:
            continue
        count -= 1
