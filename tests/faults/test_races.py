"""Races between a cancel request and the end of a run. There is one terminal state."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine

from tests.support.factories import queued, running, spec
from tests.support.rig import MakeRig
from tests.support.tiny_trainer import weights_after
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import JobNotCancellable
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import artifacts, events
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.states import TERMINAL, JobState

pytestmark = pytest.mark.fault("cancel races success")


def ends(engine: Engine, job_id: str) -> list[str]:
    """All terminal states in the job's history."""
    with read_scope(engine) as session:
        changes: list[Json] = [event.data for event in events.history(session, job_id) if event.kind == "state"]
    return [data["state"] for data in changes if data["state"] in TERMINAL]


def test_cancel_races_success_in_the_database(engine: Engine) -> None:
    barrier = Barrier(2)

    def succeed(lease: Lease) -> None:
        file = PublishedFile(artifacts.STUDENT, f"jobs/{lease.job_id}/1/student", "x/y", 1, "0" * 64)
        barrier.wait()
        with session_scope(engine) as session:
            lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[file])

    def cancel(lease: Lease) -> None:
        barrier.wait()
        try:
            with session_scope(engine) as session:
                control.request_cancel(session, lease.job_id)
        except JobNotCancellable:
            pass

    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(60):
            lease = running(engine)
            for done in [pool.submit(succeed, lease), pool.submit(cancel, lease)]:
                done.result(60)
            [end] = ends(engine, lease.job_id)
            outcomes[end] += 1
            with read_scope(engine) as session:
                assert bool(artifacts.of_job(session, lease.job_id)) == (end == JobState.SUCCEEDED)
    assert sum(outcomes.values()) == 60


def test_cancel_races_the_last_step_of_a_run(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(event_flush_seconds=0.01)
    chance = random.Random(0)
    for _ in range(5):
        job_id = queued(rig.engine, spec=spec(name="steps=2 step_seconds=0.001", dataset=dataset))
        thread = rig.start(job_id)
        while thread.is_alive() and (phase_of(rig.engine, job_id) not in ("training", "exporting")):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        try:
            with session_scope(rig.engine) as session:
                control.request_cancel(session, job_id)
        except JobNotCancellable:
            pass
        thread.join(60)
        [end] = ends(rig.engine, job_id)
        with read_scope(rig.engine) as session:
            names = [file.name for file in artifacts.of_job(session, job_id)]
            if end == JobState.SUCCEEDED:
                key = artifacts.get(session, job_id, artifacts.STUDENT).key
                assert rig.read(key).decode() == weights_after(2, "0")
            else:
                assert names == ["trainer.log"]


def phase_of(engine: Engine, job_id: str) -> str | None:
    with read_scope(engine) as session:
        return crud.get(session, job_id).phase
