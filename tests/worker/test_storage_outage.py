"""Runs during an outage of the object store."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from tests.support.factories import job_of, queued, spec, state_of
from tests.support.flaky_proxy import FlakyProxy
from tests.support.rig import MakeRig, Rig
from tests.support.s3_server import S3Server
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.jobs import control
from ttm_jobs.repositories.run_data import artifacts, events, recording
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def store(s3_server: S3Server) -> Iterator[FlakyProxy]:
    """A proxy in front of the object store."""
    with FlakyProxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture
def rig(make_rig: MakeRig, s3_server: S3Server, store: FlakyProxy) -> Rig:
    rig = make_rig(storage_retry_seconds=30.0)
    storage = build_storage(f"s3://{s3_server.new_bucket()}", replace(s3_server.access, endpoint=store.url))
    return Rig(rig.settings, rig.engine, storage)


def phase_of(engine: Engine, job_id: str) -> str | None:
    return job_of(engine, job_id).phase


def step_of(engine: Engine, job_id: str) -> int:
    return int((job_of(engine, job_id).progress or {}).get("step", 0))


def student_of(rig: Rig, job_id: str) -> bytes:
    with read_scope(rig.engine) as session:
        student = artifacts.get(session, job_id, artifacts.STUDENT)
    content = rig.read(student.key)
    assert hashlib.sha256(content).hexdigest() == student.sha256
    return content


def test_checkpoint_during_a_storage_outage_is_skipped(rig: Rig, dataset: str, store: FlakyProxy) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=80 step_seconds=0.05 checkpoint_every=20", dataset=dataset))
    runner = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) >= 1)
    store.allow = 0
    wait_until(lambda: step_of(rig.engine, job_id) >= 21)
    store.allow = None
    runner.join(120)
    job = job_of(rig.engine, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), job.failure
    assert student_of(rig, job_id).decode() == weights_after(80, "0")
    with read_scope(rig.engine) as session:
        assert 20 not in {row.step for row in recording.checkpoints(session, job_id)}


def test_student_upload_waits_for_the_storage(rig: Rig, dataset: str, store: FlakyProxy) -> None:
    body = spec(name="steps=8 step_seconds=0.2 checkpoint_every=99 student_bytes=20000000", dataset=dataset)
    job_id = queued(rig.engine, spec=body)
    runner = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) >= 1)
    store.allow, before = 0, store.connections
    # Each retry of the client library opens several connections.
    wait_until(lambda: phase_of(rig.engine, job_id) == "exporting" and store.connections > before + 20)
    assert state_of(rig.engine, job_id) is JobState.RUNNING
    store.allow = None
    runner.join(120)
    job = job_of(rig.engine, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), job.failure
    assert student_of(rig, job_id).decode().rstrip() == weights_after(8, "0")


def test_stop_request_ends_the_wait_for_the_storage(rig: Rig, dataset: str, store: FlakyProxy) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=8 step_seconds=0.2 checkpoint_every=99", dataset=dataset))
    runner = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) >= 1)
    store.allow, before = 0, store.connections
    wait_until(lambda: phase_of(rig.engine, job_id) == "exporting" and store.connections > before + 6)
    with session_scope(rig.engine) as session:
        control.request_cancel(session, job_id)
    runner.join(120)
    assert state_of(rig.engine, job_id) is JobState.CANCELLED


@pytest.mark.thorough
def test_inputs_wait_for_the_storage_up_to_the_retry_limit(
    make_rig: MakeRig, rig: Rig, dataset: str, store: FlakyProxy
) -> None:
    weights = b"weights" * 1000
    with session_scope(rig.engine) as session:
        upload = uploads.create(session, filename="student.safetensors", media_type="x/y")
        session.flush()
        stored = rig.storage.put(upload.key, [weights])
        uploads.complete(session, upload.id, size=stored.size, sha256=stored.sha256)
        student = {"architecture": "cifar/resnet20", "checkpoint": f"upload:{upload.id}"}
    store.allow = 0
    job_id = queued(rig.engine, spec=spec(name="steps=2", dataset=dataset) | {"student": student}, max_attempts=1)
    short_retry = make_rig(storage_retry_seconds=0.1)
    other_id = queued(rig.engine, spec=spec(name="steps=2", dataset=dataset) | {"student": student}, max_attempts=1)
    runner, before = rig.start(job_id), store.connections
    wait_until(lambda: store.connections > before + 8)
    Rig(short_retry.settings, rig.engine, rig.storage).run(other_id)
    given_up = job_of(rig.engine, other_id)
    assert given_up.state is JobState.FAILED
    assert (given_up.failure or {})["code"] == "storage_unreachable"
    assert state_of(rig.engine, job_id) is JobState.RUNNING
    store.allow = None
    runner.join(120)
    assert state_of(rig.engine, job_id) is JobState.SUCCEEDED
    with read_scope(rig.engine) as session:
        phases = [event.data["phase"] for event in events.history(session, job_id) if event.kind == "phase"]
    assert phases[0] == "fetching"
