"""What the retention rules forget of old jobs, and what they leave, on both databases."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from tests.support.factories import queued
from tests.support.runs import claim, fail, succeed, train
from ttm_jobs.clock import now
from ttm_jobs.database import read_scope, session_scope
from ttm_jobs.models import Artifact, Attempt, Base, Checkpoint, Job, JobEvent, Metric
from ttm_jobs.repositories import leases, runs
from ttm_jobs.repositories.leases import Lease
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage
from worker.collector import Collector


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return build_storage(f"file:{tmp_path}/storage")


def save(engine: Engine, storage: Storage, lease: Lease) -> None:
    key = f"jobs/{lease.job_id}/{lease.epoch}/checkpoints/5"
    stored = storage.put(key, [b"weights"])
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        at = now(session)
        saved = Checkpoint(
            job_id=job.id,
            step=5,
            epoch=1,
            path="checkpoints/5",
            key=key,
            size=stored.size,
            sha256=stored.sha256,
            best=True,
            lease_epoch=lease.epoch,
            created_at=at,
        )
        runs.checkpoint(session, job, saved, {"step": 5}, at)


def done(engine: Engine, storage: Storage, *, days_ago: float) -> str:
    """A job that has all there can be, and ended then."""
    lease = claim(engine, queued(engine))
    train(engine, lease, range(1, 4))
    save(engine, storage, lease)
    succeed(engine, storage, lease)
    with session_scope(engine) as session:
        ended = now(session) - timedelta(days=days_ago)
        session.get_one(Job, lease.job_id).finished_at = ended
        session.get_one(Attempt, (lease.job_id, lease.epoch)).ended_at = ended
    return lease.job_id


def kept(engine: Engine, job_id: str) -> dict[str, int]:
    def count(table: type[Base], *which: object) -> int:
        with read_scope(engine) as session:
            query = select(func.count()).select_from(table).where(table.job_id == job_id, *which)  # type: ignore[attr-defined]
            return session.scalar(query) or 0

    return {
        "artifacts": count(Artifact, Artifact.name != "trainer.log"),
        "logs": count(Artifact, Artifact.name == "trainer.log"),
        "checkpoints": count(Checkpoint),
        "events": count(JobEvent, JobEvent.kind.not_in(("state", "phase"))),
        "metrics": count(Metric),
        "history": count(JobEvent, JobEvent.kind.in_(("state", "phase"))),
        "attempts": count(Attempt),
    }


def test_by_default_everything_is_kept(engine: Engine, storage: Storage) -> None:
    job_id = done(engine, storage, days_ago=3000)
    before = kept(engine, job_id)
    assert all(before.values()), before
    Collector(Settings(), engine, storage).collect()
    assert kept(engine, job_id) == before
    assert len(list(storage.list())) == 3


@pytest.mark.parametrize("kind", ["artifacts", "logs", "checkpoints", "events", "metrics"])
def test_each_rule_forgets_its_own_of_old_jobs_alone(engine: Engine, storage: Storage, kind: str) -> None:
    old, new = done(engine, storage, days_ago=10), done(engine, storage, days_ago=1)
    running = claim(engine, queued(engine))
    train(engine, running, range(1, 3))
    save(engine, storage, running)
    before = [kept(engine, job_id) for job_id in (old, new, running.job_id)]
    objects = len(list(storage.list()))
    Collector(Settings.model_validate({f"keep_{kind}_days": 7}), engine, storage).collect()
    after = [kept(engine, job_id) for job_id in (old, new, running.job_id)]
    assert after == [{**before[0], kind: 0}, *before[1:]]
    # What nobody names any more is gone from the storage, too.
    assert len(list(storage.list())) == objects - (kind in ("artifacts", "logs", "checkpoints"))
    fail(engine, running)


def test_many_jobs_take_several_transactions(engine: Engine, storage: Storage) -> None:
    many = [done(engine, storage, days_ago=10) for _ in range(25)]
    Collector(Settings.model_validate({"keep_metrics_days": 7}), engine, storage).collect()
    assert {kept(engine, job_id)["metrics"] for job_id in many} == {0}
