"""Reading a job for the MLflow export."""

from datetime import timedelta

from sqlalchemy import Engine

from tests.support.factories import job_of, queued
from tests.support.runs import claim, succeed, train
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import metrics
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.storage import Storage
from worker.dispatcher.mlflow import run


def test_metrics_carry_the_times_at_which_they_were_reported(engine: Engine, storage: Storage) -> None:
    lease = claim(engine, queued(engine))
    train(engine, lease, [1])
    succeed(engine, storage, lease)
    started_at, finished_at = job_of(engine, lease.job_id).started_at, job_of(engine, lease.job_id).finished_at
    assert started_at is not None
    assert finished_at is not None
    reported_at = started_at + timedelta(minutes=7)
    with session_scope(engine) as session:
        job = crud.get(session, lease.job_id)
        # The first point has no time, as written by earlier versions; the second has one.
        metrics.upsert(
            session, job, [Point(1, 0.1, {"train/loss": 2.0}), Point(2, 0.2, {"train/loss": 1.0}, reported_at)]
        )
    with read_scope(engine) as session:
        read = run.read(session, lease.job_id)
    assert read is not None
    untimed, timed = (one for one in read.metrics if one["key"] == "train/loss")
    assert read.start <= untimed["timestamp"] <= read.end
    assert (timed["step"], timed["timestamp"]) == (2, int(reported_at.timestamp() * 1000))
