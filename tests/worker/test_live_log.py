"""The log and the resource usage of a running trainer."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import MakeRig
from tests.support.factories import claimed, job_of, queued, spec
from tests.support.tiny import wait_until
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import ArtifactNotFound
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage, build_storage
from worker.run.publish import LiveLog
from worker.trainer.log import LogFile


def log_of(engine: Engine, storage: Storage, job_id: str) -> bytes:
    """The job's log; empty while there is none."""
    with read_scope(engine) as session:
        try:
            key = artifacts.get(session, job_id, "trainer.log").key
        except ArtifactNotFound:
            return b""
    return b"".join(storage.open(key))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_log_is_readable_while_the_trainer_runs(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(log_upload_seconds=0.1)
    job_id = queued(rig.engine, spec=spec(name="steps=100 step_seconds=0.03", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: b"step 5 of 100" in log_of(rig.engine, rig.storage, job_id))
    assert job_of(rig.engine, job_id).state is JobState.RUNNING
    thread.join(100)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.SUCCEEDED
    assert b"step 100 of 100" in log_of(rig.engine, rig.storage, job_id)
    assert job.latest["system/memory_bytes"] > 1024**2
    assert 0 < job.latest["system/cpus"] < 4


def test_live_log_of_a_lost_lease_is_not_stored(engine: Engine, tmp_path: Path) -> None:
    storage = build_storage(f"file:{tmp_path / 'storage'}")
    log = LogFile(tmp_path / "log", 1000)
    (tmp_path / "log").write_bytes(b"own")
    job_id = queued(engine)
    lease = claimed(engine, job_id)
    stale = replace(lease, epoch=lease.epoch - 1)
    with LiveLog(engine, storage, stale, log, interval=0.01) as live:
        live._thread.join(60)
    assert list(storage.list()) == []
    with LiveLog(engine, storage, lease, log, interval=0.01):
        wait_until(lambda: log_of(engine, storage, job_id) == b"own")
