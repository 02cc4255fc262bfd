import math

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from tests.support.factories import job_of, running
from tests.support.statements import statements
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Checkpoint, Job, JobEvent, Metric
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.run_data import events, metrics, recording
from ttm_jobs.repositories.run_data.metrics import Point


def progress_of(step: int) -> dict[str, int]:
    return {"step": step, "total_steps": 10}


def checkpoint(session: Session, job: Job, step: int, *, best: bool = False, key: str | None = None) -> list[str]:
    saved = Checkpoint(
        job_id=job.id,
        step=step,
        epoch=0,
        path=f"checkpoints/{step}",
        key=key or f"key-{step}",
        size=1,
        sha256="ab" * 32,
        best=best,
        lease_epoch=job.lease_epoch,
        created_at=now(session),
    )
    return recording.checkpoint(session, job, saved, {"step": step}, now(session))


def test_phases_are_recorded_with_their_times(engine: Engine) -> None:
    lease = running(engine)
    for name in ("fetching", "training"):
        with session_scope(engine) as session:
            recording.phase(session, leases.fence(session, lease), name, now(session))
    assert job_of(engine, lease.job_id).phase == "training"
    with read_scope(engine) as session:
        history = [(event.kind, event.data.get("phase")) for event in events.history(session, lease.job_id)]
        times = [event.at for event in events.history(session, lease.job_id)]
    assert history == [("state", None), ("state", None), ("phase", "fetching"), ("phase", "training")]
    assert times == sorted(times)


def test_resolved_spec_is_used_by_the_next_attempt(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        recording.resolved(session, leases.fence(session, lease), {"threads": 2}, {"total_steps": 10}, now(session))
    job = job_of(engine, lease.job_id)
    assert job.resolved_spec == {"threads": 2}
    assert "threads" not in job.spec


def test_reasons_of_an_earlier_attempt_are_kept(engine: Engine) -> None:
    lease = running(engine)
    for reasons in ({"training.precision": "The device."}, {}, {"training.threads": "The machine."}):
        with session_scope(engine) as session:
            job = leases.fence(session, lease)
            recording.resolved(session, job, {}, {"total_steps": 10, "reasons": reasons}, now(session))
    kept = {"training.precision": "The device.", "training.threads": "The machine."}
    with read_scope(engine) as session:
        assert session.get_one(Job, lease.job_id).resolved_reasons == kept


def test_teacher_accuracy_is_in_the_latest_metrics(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        data = {"top1": 0.9, "loss": 0.3, "images": 10}
        recording.teacher_measured(session, leases.fence(session, lease), data, now(session))
    assert job_of(engine, lease.job_id).latest == {"teacher/top1": 0.9, "teacher/loss": 0.3}


def test_only_the_newest_progress_event_is_kept(engine: Engine) -> None:
    lease = running(engine)
    for step in (1, 2, 3):
        with session_scope(engine) as session:
            recording.progress(session, leases.fence(session, lease), progress_of(step), now(session))
    assert job_of(engine, lease.job_id).progress == progress_of(3)
    with read_scope(engine) as session:
        kept = [(event.number, event.data) for event in events.after(session, lease.job_id, 2)]
        assert events.last_event_numbers(session, [lease.job_id, "no such job"]) == {lease.job_id: 5}
    assert kept == [(5, progress_of(3))]


def test_event_stream_is_read_from_any_number(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        for step in range(5):
            recording.log(session, leases.fence(session, lease), {"message": str(step)}, now(session))
    with read_scope(engine) as session:
        everything = [event.number for event in events.after(session, lease.job_id, 0)]
        assert everything == list(range(1, 8))
        assert [event.number for event in events.after(session, lease.job_id, 3, limit=2)] == [4, 5]
        assert events.after(session, lease.job_id, 7) == []


def test_metrics_become_curves_and_latest_values(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        for step in (1, 2, 3):
            values = {"train/loss": 1 / step}
            recording.metrics(session, job, {"step": step, "epoch": step / 10, "values": values}, now(session))
            metrics.upsert(session, job, [Point(step, step / 10, values)])
        values = {"validation/top1": 0.5}
        recording.metrics(session, job, {"step": 3, "epoch": 0.3, "values": values}, now(session))
        metrics.upsert(session, job, [Point(3, 0.3, values)])
    with read_scope(engine) as session:
        job = session.get_one(Job, lease.job_id)
        assert job.latest == {"train/loss": 1 / 3, "validation/top1": 0.5}
        assert [(row.step, row.value) for row in metrics.curve(session, job.id, "train/loss")] == [
            (1, 1.0),
            (2, 0.5),
            (3, 1 / 3),
        ]
        points = metrics.points(session, job)
        assert [(point.step, point.values) for point in points] == [
            (1, {"train/loss": 1.0}),
            (2, {"train/loss": 0.5}),
            (3, {"train/loss": 1 / 3, "validation/top1": 0.5}),
        ]
        [only] = metrics.points(session, job, names=["validation/top1"])
        assert (only.step, only.epoch) == (3, 0.3)
        assert [point.step for point in metrics.points(session, job, after_step=1, limit=1)] == [2]


def test_repeated_step_is_one_point(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        for loss in (2.0, 1.0):
            metrics.upsert(session, job, [Point(5, 0.5, {"train/loss": loss})])
        metrics.upsert(session, job, [Point(6, 0.6, {}), Point(7, 0.7, {"other": 1.0})])
        metrics.upsert(session, job, [])
    with read_scope(engine) as session:
        assert [row.value for row in metrics.curve(session, lease.job_id, "train/loss")] == [1.0]


def test_non_finite_metrics_are_null(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        data = {"step": 1, "epoch": 0.1, "values": {"a": "NaN", "b": "Infinity"}}
        recording.metrics(session, job, data, now(session))
        metrics.upsert(session, job, [Point(1, 0.1, {"a": math.nan, "b": math.inf})])
    with read_scope(engine) as session:
        job = session.get_one(Job, lease.job_id)
        assert [point.values for point in metrics.points(session, job)] == [{"a": None, "b": None}]
        assert job.latest == {"a": "NaN", "b": "Infinity"}


def test_last_two_checkpoints_and_the_best_are_kept(engine: Engine) -> None:
    lease = running(engine)
    deleted = []
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        for step, best in ((10, False), (20, True), (30, False), (40, False), (50, False)):
            deleted += checkpoint(session, job, step, best=best)
    assert deleted == ["key-10", "key-30"]
    with read_scope(engine) as session:
        assert [row.step for row in recording.checkpoints(session, lease.job_id)] == [50, 40, 20]
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        assert sorted(checkpoint(session, job, 60, best=True)) == ["key-20", "key-40"]


def test_repeated_checkpoint_replaces_the_object_of_its_step(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        assert checkpoint(session, job, 10) == []
        assert checkpoint(session, job, 10) == []
        assert checkpoint(session, job, 10, key="key-of-epoch-2") == ["key-10"]
    with read_scope(engine) as session:
        [row] = recording.checkpoints(session, lease.job_id)
        assert row.key == "key-of-epoch-2"


def test_metrics_events_store_no_values_and_are_read_with_them(engine: Engine) -> None:
    lease = running(engine)
    nan = {"step": 2, "epoch": 0.2, "values": {"train/loss": "NaN", "train/lr": 0.1}}
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.metrics(session, job, {"step": 1, "epoch": 0.1, "values": {"train/loss": 0.5}}, now(session))
        recording.metrics(session, job, {"step": 1, "epoch": 0.1, "values": {"validation/top1": 0.7}}, now(session))
        recording.metrics(session, job, nan, now(session))
        points = [Point(1, 0.1, {"train/loss": 0.5, "validation/top1": 0.7})]
        metrics.upsert(session, job, [*points, Point(2, 0.2, {"train/loss": math.nan, "train/lr": 0.1})])
    with read_scope(engine) as session:
        stored = session.scalars(select(JobEvent.data).where(JobEvent.job_id == lease.job_id, JobEvent.number > 2))
        assert all("values" not in data for data in stored)
        assert [event.data for event in events.after(session, lease.job_id, 2)] == [
            {"step": 1, "epoch": 0.1, "values": {"train/loss": 0.5}},
            {"step": 1, "epoch": 0.1, "values": {"validation/top1": 0.7}},
            nan,
        ]


def test_metrics_events_without_stored_values_have_an_empty_map(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.metrics(session, job, {"step": 1, "epoch": 0.1, "values": {"train/loss": 0.5}}, now(session))
        metrics.upsert(session, job, [Point(1, 0.1, {"train/loss": 0.5})])
        session.execute(delete(Metric).where(Metric.job_id == lease.job_id))
    with read_scope(engine) as session:
        assert [event.data["values"] for event in events.after(session, lease.job_id, 2)] == [{}]


def test_a_page_of_events_takes_two_queries(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        for step in range(50):
            values = {"train/loss": float(step)}
            recording.metrics(session, job, {"step": step, "epoch": 0.1, "values": values}, now(session))
            metrics.upsert(session, job, [Point(step, 0.1, values)])
    with statements(engine, lambda sql: sql.startswith("SELECT")) as executed, read_scope(engine) as session:
        found = events.after(session, lease.job_id, 2)
    assert [event.data["values"] for event in found] == [{"train/loss": float(step)} for step in range(50)]
    assert len(executed) == 2
