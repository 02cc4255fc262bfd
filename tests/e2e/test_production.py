"""The core workflow on PostgreSQL, Redis and S3, with real service processes."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.api_server import api_process
from tests.support.s3_server import S3Server
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState


@pytest.fixture
def s3_settings(s3_server: S3Server) -> dict[str, str]:
    return s3_server.settings("/ttm")


@pytest.fixture
def stack(tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker, s3_settings: dict[str, str]) -> Iterator[Stack]:
    with Stack(tmp_path, postgresql_url, redis, **s3_settings) as stack:
        yield stack


def test_submitted_job_survives_a_killed_worker_and_is_downloaded(stack: Stack, s3_settings: dict[str, str]) -> None:
    stack.start_dispatcher()
    first = stack.start_worker()
    settings = Settings.model_validate(
        {name: stack.settings[name] for name in ("database_url", "broker_url", "storage_url")}
    )
    environment = {f"TTM_{name.upper()}": value for name, value in s3_settings.items()}
    with api_process(settings, {**environment, "TTM_DATA_ROOTS": str(stack.data)}) as (url, _):
        teacher = httpx2.post(
            f"{url}/uploads", content=os.urandom(3 << 20), headers={"Content-Type": "application/octet-stream"}
        )
        teacher.raise_for_status()
        body = {
            "name": "steps=120 step_seconds=0.05 student_bytes=9000000",
            "student": "cifar/resnet20",
            "dataset": f"file://{stack.data}",
            "teacher": {"checkpoint": teacher.json()["uri"], "architecture": "cifar/resnet56"},
        }
        job_id = httpx2.post(f"{url}/jobs", json=body).raise_for_status().json()["id"]
        wait_until(lambda: stack.checkpoints(job_id))
        first.send_signal(signal.SIGKILL)
        stack.start_worker()
        stack.wait_for(job_id, JobState.SUCCEEDED)
        assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["lost", "succeeded"]
        assert (stack.attempts(job_id)[1].from_step or 0) >= 5, "the attempt resumed from the checkpoint in the bucket"
        # Larger than one part of a multipart upload.
        full = httpx2.get(f"{url}/jobs/{job_id}/student", follow_redirects=True, timeout=60).raise_for_status()
        assert len(full.content) == 9_000_000
        assert full.content.decode().strip() == weights_after(120, "0")
        assert full.headers["etag"].strip('"') == hashlib.sha256(full.content).hexdigest()
        part = httpx2.get(f"{url}/jobs/{job_id}/student", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, full.content[10:20])
        assert httpx2.get(f"{url}/jobs/{job_id}/log").raise_for_status().text.count("step ") > 0
        # All objects are in the bucket; the API and the workers keep no files.
        assert not (stack.directory / "storage").exists()
