"""Data that the retention rules delete from old jobs, and data that they keep, on both databases."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select, update

from tests.support.factories import queued, spec
from tests.support.runs import claim, fail, succeed, train
from tests.support.studies import create_study
from ttm_jobs.database.audit import process_author, record
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import (
    Artifact,
    Attempt,
    AuditEntry,
    Base,
    Checkpoint,
    Job,
    JobEvent,
    Metric,
    SignInSession,
    Upload,
)
from ttm_jobs.repositories import registry, uploads
from ttm_jobs.repositories.access import audit, sign_in_sessions
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import recording
from ttm_jobs.repositories.studies import crud as studies
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker.dispatcher.collector import Collector


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
        recording.checkpoint(session, job, saved, {"step": 5}, at)


def done(engine: Engine, storage: Storage, *, days_ago: float) -> str:
    """Creates a job with every kind of data that finished `days_ago`."""
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
    def count(table: type[Base], *conditions: object) -> int:
        with read_scope(engine) as session:
            query = select(func.count()).select_from(table).where(table.job_id == job_id, *conditions)  # type: ignore[attr-defined]
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
def test_each_rule_deletes_only_its_own_data_of_old_jobs(engine: Engine, storage: Storage, kind: str) -> None:
    old, new = done(engine, storage, days_ago=10), done(engine, storage, days_ago=1)
    running = claim(engine, queued(engine))
    train(engine, running, range(1, 3))
    save(engine, storage, running)
    before = [kept(engine, job_id) for job_id in (old, new, running.job_id)]
    objects = len(list(storage.list()))
    Collector(Settings.model_validate({f"{kind}_retention_days": 7}), engine, storage).collect()
    after = [kept(engine, job_id) for job_id in (old, new, running.job_id)]
    assert after == [{**before[0], kind: 0}, *before[1:]]
    # Unreferenced objects are also deleted from the storage.
    assert len(list(storage.list())) == objects - (kind in ("artifacts", "logs", "checkpoints"))
    fail(engine, running)


def test_many_jobs_take_several_transactions(engine: Engine, storage: Storage) -> None:
    many = [done(engine, storage, days_ago=10) for _ in range(25)]
    Collector(Settings.model_validate({"metrics_retention_days": 7}), engine, storage).collect()
    assert {kept(engine, job_id)["metrics"] for job_id in many} == {0}


def uploaded(engine: Engine, storage: Storage, *, days_ago: float) -> str:
    """Creates an upload that was completed `days_ago` and returns its URI."""
    with session_scope(engine) as session:
        upload = uploads.create(session, filename="teacher.pt", media_type="x/y")
        session.flush()
        upload_id, key = upload.id, upload.key
    # Not in a transaction, which ends when the disk keeps it waiting.
    stored = storage.put(key, [b"weights"])
    with session_scope(engine) as session:
        upload = uploads.complete(session, upload_id, size=stored.size, sha256=stored.sha256)
        upload.created_at = upload.completed_at = now(session) - timedelta(days=days_ago)
    return f"upload:{upload_id}"


def test_unused_uploads_are_deleted(
    engine: Engine, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young, waiting, ended, used_twice, registered = (
        uploaded(engine, storage, days_ago=days) for days in (10, 1, 10, 10, 10, 10)
    )
    for address in (waiting, ended):
        job_id = queued(engine, spec=spec(teacher=address))
        with session_scope(engine) as session:
            session.get_one(Job, job_id).created_at = now(session) - timedelta(days=9)
            session.execute(update(Upload).values(active_at=None))
    # One job references the upload directly, another one inside a part of its spec.
    fail(engine, claim(engine, job_id))
    queued(engine, spec=spec(student={"architecture": "cifar/resnet20", "checkpoint": used_twice}))
    with session_scope(engine) as session:
        registry.add(session, "dataset", "pets", {"uri": registered}, description=None)
    collector = Collector(
        Settings.model_validate({"uploads_retention_days": 7, "collect_min_age_seconds": 0.001}), engine, storage
    )
    collector.collect()
    with read_scope(engine) as session:
        left = {f"upload:{upload_id}" for upload_id in session.scalars(select(Upload.id))}
    assert left == {young, waiting, used_twice, registered}
    assert {f"upload:{key.rpartition('/')[2]}" for key in storage.list("uploads")} == left
    assert {old, ended}.isdisjoint(left)
    with read_scope(engine) as session:
        entries = audit.find(session, audit.AuditFilters(action="uploads_expire"), limit=9)
    assert {f"upload:{entry.object}" for entry in entries} == {old, ended}
    assert {entry.actor for entry in entries} == {"dispatcher"}


def test_an_unfinished_study_keeps_its_uploads_and_the_artifacts_of_its_jobs(engine: Engine, storage: Storage) -> None:
    teacher, checkpoint = uploaded(engine, storage, days_ago=10), uploaded(engine, storage, days_ago=10)
    study_id = create_study(
        engine,
        teacher=teacher,
        students=["cifar/resnet8", {"architecture": "cifar/resnet20", "checkpoint": checkpoint}],
    )
    job_id = done(engine, storage, days_ago=10)
    with session_scope(engine) as session:
        session.get_one(Job, job_id).study_id = study_id
    collector = Collector(
        Settings.model_validate({"uploads_retention_days": 7, "artifacts_retention_days": 7}), engine, storage
    )
    for ended in (False, True):
        if ended:
            with session_scope(engine) as session:
                studies.request_cancel(session, study_id)
        collector.expire()
        assert (kept(engine, job_id)["artifacts"] == 0) is ended
        with read_scope(engine) as session:
            assert (session.scalar(select(func.count()).select_from(Upload)) == 0) is ended


def test_entries_of_the_audit_log_and_sessions_expire(engine: Engine, storage: Storage) -> None:
    hour = timedelta(hours=1)
    with session_scope(engine) as session:
        record(session, process_author("keys_create", "ops"), project_id="vision", name="new")
        # Entries cannot be updated.
        days_ago = now(session) - timedelta(days=8)
        old = {"id": new_id(), "project_id": "vision", "action": "keys_create", "object": "old", "request_id": "r"}
        session.execute(insert(AuditEntry), [{**old, "created_at": days_ago}])
        for lifetime in (-hour, hour):
            sign_in_sessions.start_for_key(session, key_id=new_id(), project_id="vision", lifetime=lifetime)
    Collector(Settings(), engine, storage).collect()
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 2, "kept by default"
        assert session.scalar(select(func.count()).select_from(SignInSession)) == 1
    Collector(Settings.model_validate({"audit_retention_days": 7}), engine, storage).collect()
    with read_scope(engine) as session:
        assert session.scalars(select(AuditEntry.object)).all() == ["new"]


def test_uploads_are_kept_by_default(engine: Engine, storage: Storage) -> None:
    uploaded(engine, storage, days_ago=3000)
    Collector(Settings(), engine, storage).collect()
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 1


def test_many_uploads_take_several_transactions(engine: Engine, storage: Storage) -> None:
    for _ in range(105):
        uploaded(engine, storage, days_ago=10)
    Collector(Settings.model_validate({"uploads_retention_days": 7}), engine, storage).expire()
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0
