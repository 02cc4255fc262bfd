"""Objects that the collector removes and objects that it keeps, on both databases."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Engine

from tests.support.factories import claimed, queued, running, spec
from tests.support.rig import MakeRig
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Attempt, Upload
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.jobs import crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import artifacts, recording
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker.dispatcher.collector import Collector

CRASH = lifecycle.Failure("trainer_died", "Killed.", origin="system", retryable=True)
LONG_AGO = timedelta(days=2)
OLD_ID = "01800000-0000-7000-8000-000000000000"


@pytest.fixture
def collector(engine: Engine, storage: Storage) -> Collector:
    return Collector(Settings(), engine, storage)


def test_old_partial_files_are_removed(collector: Collector, tmp_path: Path) -> None:
    old, new = tmp_path / "storage/jobs/1/.partial-old", tmp_path / "storage/jobs/2/.partial-new"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"partial")
    os.utime(old, (0, 0))
    assert collector.collect() == 1
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_gets_statistics_for_its_query_planner(collector: Collector, engine: Engine) -> None:
    queued(engine)
    collector.collect()
    with engine.connect() as connection:
        tables = connection.exec_driver_sql("SELECT DISTINCT tbl FROM sqlite_stat1").scalars().all()
    assert "jobs" in tables


def put(storage: Storage, *keys: str) -> None:
    for key in keys:
        storage.put(key, io.BytesIO(b"x"))


def age(engine: Engine, lease: Lease) -> None:
    """Sets the end of an attempt to two days ago."""
    with session_scope(engine) as session:
        session.get_one(Attempt, (lease.job_id, lease.epoch)).ended_at = now(session) - LONG_AGO


def fail_attempt(engine: Engine, lease: Lease) -> None:
    with session_scope(engine) as session:
        lifecycle.attempt_failed(session, leases.fence(session, lease), CRASH, backoff=timedelta(0))


def test_unreferenced_objects_of_ended_attempts_are_removed_and_others_stay(
    collector: Collector, engine: Engine, storage: Storage
) -> None:
    first = running(engine)
    base = f"jobs/{first.job_id}"
    put(storage, f"{base}/1/student.safetensors", f"{base}/1/checkpoints/5", f"{base}/1/trainer.log")
    with session_scope(engine) as session:
        job = leases.fence(session, first)
        artifacts.record(
            session, job, [PublishedFile("trainer.log", f"{base}/1/trainer.log", "text/plain", 1, "0" * 64)]
        )
        saved = recording.Checkpoint(
            job_id=job.id, step=5, epoch=0, path="5", key=f"{base}/1/checkpoints/5", size=1, sha256="0" * 64,
            best=False, lease_epoch=1, created_at=now(session),
        )  # fmt: skip
        recording.checkpoint(session, job, saved, {}, now(session))
    fail_attempt(engine, first)
    second = claimed(engine, first.job_id, "worker-2")
    put(storage, f"{base}/2/student.safetensors")
    assert collector.collect() == 0, "the first attempt has just ended and the second runs"
    age(engine, first)
    assert collector.collect() == 1
    assert list(storage.list()) == [f"{base}/1/checkpoints/5", f"{base}/1/trainer.log", f"{base}/2/student.safetensors"]
    fail_attempt(engine, second)
    age(engine, second)
    assert collector.collect() == 1
    assert collector.collect() == 0


def test_objects_of_deleted_jobs_are_removed_and_recent_ones_stay(
    collector: Collector, engine: Engine, storage: Storage
) -> None:
    young, job_id = new_id(), queued(engine)
    put(storage, f"jobs/{OLD_ID}/1/student", f"jobs/{young}/1/student", f"jobs/{job_id}/7/student")
    assert collector.collect() == 1
    assert list(storage.list()) == sorted([f"jobs/{young}/1/student", f"jobs/{job_id}/7/student"])


def test_abandoned_upload_is_removed_and_complete_or_active_ones_stay(
    collector: Collector, engine: Engine, storage: Storage
) -> None:
    with session_scope(engine) as session:
        complete, sending, broken = (uploads.create(session, filename=None, media_type="x/y") for _ in range(3))
        session.flush()
        uploads.complete(session, complete.id, size=1, sha256="0" * 64)
        for upload in (complete, broken):
            upload.created_at = now(session) - LONG_AGO
    put(storage, complete.key, sending.key, broken.key, f"uploads/{OLD_ID}")
    assert collector.collect() == 1, "the upload no longer exists"
    assert set(storage.list()) == {complete.key, sending.key, broken.key}, "its id is recent"
    with session_scope(engine) as session:
        assert session.get(Upload, broken.id) is None
        assert session.get(Upload, sending.id) is not None


def test_keys_of_unknown_form_are_kept(collector: Collector, storage: Storage) -> None:
    put(storage, "backup", f"jobs/{OLD_ID}/x/y", f"jobs/{OLD_ID}/1", f"stores/{OLD_ID}/1/z", "jobs/no-id/1/student")
    assert collector.collect() == 0


def test_collector_never_removes_artifacts_during_publication(
    make_rig: MakeRig, dataset: str, engine: Engine, storage: Storage
) -> None:
    """Collectors without a minimum age run continuously while workers publish."""
    eager = Settings.model_validate({"collect_min_age_seconds": 1e-6})
    stop = Event()
    rig = make_rig()

    def collect() -> None:
        while not stop.is_set():
            Collector(eager, engine, storage).collect()

    collectors = [Thread(target=collect, daemon=True) for _ in range(2)]
    for thread in collectors:
        thread.start()
    job_ids = [queued(engine, spec=spec(name="steps=12 step_seconds=0.001", dataset=dataset)) for _ in range(4)]
    for job_id in job_ids:
        rig.run(job_id)
    stop.set()
    for thread in collectors:
        thread.join(60)
    with session_scope(engine) as session:
        for job_id in job_ids:
            assert len(crud.attempts(session, job_id)) == 1
            rows = [*artifacts.of_job(session, job_id), *recording.checkpoints(session, job_id)]
            assert len(rows) == 5
            for row in rows:
                assert storage.size(row.key) == row.size


def test_collectors_run_concurrently(collector: Collector, engine: Engine, storage: Storage) -> None:
    put(storage, *(f"jobs/{OLD_ID}/{epoch}/student" for epoch in range(50)))
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: collector.collect(), range(4))) >= 50
    assert list(storage.list()) == []


def test_collector_continues_after_storage_errors(engine: Engine) -> None:
    stop = Event()
    sweeps = []

    class UnavailableStorage:
        def sweep(self, older_than: timedelta) -> None:
            sweeps.append(True)
            if len(sweeps) == 3:
                stop.set()
            raise OSError("no route to the storage")

    settings = Settings.model_validate({"collect_interval_seconds": 0.01})
    Collector(settings, engine, UnavailableStorage()).serve(stop)  # type: ignore[arg-type]
    assert len(sweeps) == 3
