"""What the collector removes, and what it never does, on both databases."""

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


def test_what_was_never_whole_is_swept_as_well(collector: Collector, tmp_path: Path) -> None:
    old, new = tmp_path / "storage/jobs/1/.partial-old", tmp_path / "storage/jobs/2/.partial-new"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert collector.collect() == 1
    assert not old.exists()
    assert new.exists()


def put(storage: Storage, *keys: str) -> None:
    for key in keys:
        storage.put(key, io.BytesIO(b"x"))


def age(engine: Engine, lease: Lease) -> None:
    """Has an attempt have ended long ago."""
    with session_scope(engine) as session:
        session.get_one(Attempt, (lease.job_id, lease.epoch)).ended_at = now(session) - LONG_AGO


def break_off(engine: Engine, lease: Lease) -> None:
    with session_scope(engine) as session:
        lifecycle.attempt_failed(session, leases.fence(session, lease), CRASH, backoff=timedelta(0))


def test_what_a_dead_attempt_left_goes_and_what_a_row_names_stays(
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
    break_off(engine, first)
    second = claimed(engine, first.job_id, "worker-2")
    put(storage, f"{base}/2/student.safetensors")
    assert collector.collect() == 0, "the first attempt has only just ended, the second runs"
    age(engine, first)
    assert collector.collect() == 1
    assert list(storage.list()) == [f"{base}/1/checkpoints/5", f"{base}/1/trainer.log", f"{base}/2/student.safetensors"]
    break_off(engine, second)
    age(engine, second)
    assert collector.collect() == 1
    assert collector.collect() == 0


def test_a_job_that_is_gone_leaves_nothing_but_a_restored_record_loses_nothing(
    collector: Collector, engine: Engine, storage: Storage
) -> None:
    young, job_id = new_id(), queued(engine)
    put(storage, f"jobs/{OLD_ID}/1/student", f"jobs/{young}/1/student", f"jobs/{job_id}/7/student")
    assert collector.collect() == 1
    assert list(storage.list()) == sorted([f"jobs/{young}/1/student", f"jobs/{job_id}/7/student"])


def test_an_upload_that_never_ended_goes_and_one_that_is_whole_or_under_way_stays(
    collector: Collector, engine: Engine, storage: Storage
) -> None:
    with session_scope(engine) as session:
        whole, sending, broken = (uploads.create(session, filename=None, media_type="x/y") for _ in range(3))
        session.flush()
        uploads.complete(session, whole.id, size=1, sha256="0" * 64)
        for upload in (whole, broken):
            upload.created_at = now(session) - LONG_AGO
    put(storage, whole.key, sending.key, broken.key, f"uploads/{OLD_ID}")
    assert collector.collect() == 1, "nobody sends it"
    assert set(storage.list()) == {whole.key, sending.key, broken.key}, "its name says that it is young"
    with session_scope(engine) as session:
        assert session.get(Upload, broken.id) is None
        assert session.get(Upload, sending.id) is not None


def test_keys_of_another_form_are_left_alone(collector: Collector, storage: Storage) -> None:
    put(storage, "backup", f"jobs/{OLD_ID}/x/y", f"jobs/{OLD_ID}/1", f"stores/{OLD_ID}/1/z", "jobs/no-id/1/student")
    assert collector.collect() == 0


def test_what_is_being_published_is_never_removed(
    make_rig: MakeRig, dataset: str, engine: Engine, storage: Storage
) -> None:
    """Collectors without any safe age, as fast as they can, beside workers that publish."""
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
        thread.join(20)
    with session_scope(engine) as session:
        for job_id in job_ids:
            assert len(crud.attempts(session, job_id)) == 1
            rows = [*artifacts.of_job(session, job_id), *recording.checkpoints(session, job_id)]
            assert len(rows) == 5
            for row in rows:
                assert storage.size(row.key) == row.size


def test_any_number_of_collectors(collector: Collector, engine: Engine, storage: Storage) -> None:
    put(storage, *(f"jobs/{OLD_ID}/{epoch}/student" for epoch in range(50)))
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: collector.collect(), range(4))) >= 50
    assert list(storage.list()) == []


def test_it_goes_on_after_the_storage_could_not_be_read(engine: Engine) -> None:
    stop = Event()
    asked = []

    class Away:
        def sweep(self, older_than: timedelta) -> None:
            asked.append(True)
            if len(asked) == 3:
                stop.set()
            raise OSError("no route to the storage")

    settings = Settings.model_validate({"collect_interval_seconds": 0.01})
    Collector(settings, engine, Away()).serve(stop)  # type: ignore[arg-type]
    assert len(asked) == 3
