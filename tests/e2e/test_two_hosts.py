"""Database, broker and storage on one host, a worker on another. The network is cut and restored."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy.engine import make_url

from tests.support.flaky_proxy import FlakyProxy
from tests.support.s3_server import S3Server
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from tests.support.two_hosts import NoNamespaces, SecondHost
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.states import JobState

LONG = "steps=300 step_seconds=0.05 checkpoint_every=20"


@pytest.fixture
def host() -> Iterator[SecondHost]:
    try:
        with SecondHost() as host:
            yield host
    except NoNamespaces as reason:
        pytest.skip(f"NOT RUN: two hosts need network namespaces, and {reason}")


@pytest.mark.thorough
def test_isolated_worker_loses_its_job_and_rejoins(
    host: SecondHost, tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker, s3_server: S3Server
) -> None:
    access = s3_server.access
    s3 = {
        "storage_url": f"s3://{s3_server.new_bucket()}",
        "s3_region": access.region,
        "s3_access_key_id": access.access_key_id,
        "s3_secret_access_key": access.secret_access_key,
    }
    with (
        Stack(tmp_path, postgresql_url, redis, s3_endpoint=access.endpoint, **s3) as stack,
        FlakyProxy(f"tcp://127.0.0.1:{make_url(postgresql_url).port}", host=host.near) as database,
        FlakyProxy(redis.url, host=host.near) as broker,
        FlakyProxy(str(access.endpoint), host=host.near) as storage,
    ):
        there = {
            "database_url": postgresql_url.replace(
                urlsplit(postgresql_url).netloc.rpartition("@")[2], database.url[7:]
            ),
            "broker_url": f"redis://{broker.url[7:]}/0",
            "s3_endpoint": storage.url,
        }
        stack.start_dispatcher()
        far = stack.start("far", "tests.support.tiny_worker", tmp_path / "far", host.prefix, **there)
        wait_until(stack.workers)
        job_id = stack.submit(LONG)
        wait_until(lambda: stack.checkpoints(job_id))

        # An outage shorter than the lease has no effect.
        host.cut()
        time.sleep(1)
        host.join()
        before = stack.step(job_id)
        wait_until(lambda: stack.step(job_id) > before)
        assert len(stack.attempts(job_id)) == 1

        host.cut()
        near = stack.start_worker()
        stack.wait_for(job_id, JobState.SUCCEEDED)
        assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["lost", "succeeded"]
        assert (stack.attempts(job_id)[1].from_step or 0) >= 20
        assert stack.student(job_id) == weights_after(300, "0")

        # After the network is restored, the worker takes jobs again, and nothing of its isolated work is kept.
        near.terminate()
        near.wait(60)
        host.join()
        next_job = stack.submit("steps=5")
        stack.wait_for(next_job, JobState.SUCCEEDED)
        assert far.poll() is None
        assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["lost", "succeeded"]
        assert stack.student(job_id) == weights_after(300, "0")
