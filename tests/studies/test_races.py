"""Changes of a study while a worker changes one of its jobs."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.support.runs import claim
from tests.support.studies import advance, create_study, jobs_of, study_of
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.models import Study
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.studies import crud
from ttm_jobs.states import JobState
from ttm_jobs.studies.states import StudyState


def _waits_for_a_lock(engine: Engine) -> bool:
    with read_scope(engine) as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(session.scalar(text(query)))


@pytest.mark.parametrize(
    ("change", "state", "job_state"),
    [
        (crud.request_pause, StudyState.PAUSED, JobState.PAUSING),
        (crud.request_cancel, StudyState.CANCELLED, JobState.CANCELLING),
    ],
)
def test_a_study_changes_while_a_worker_reports_the_progress_of_its_job(
    postgresql_url: str, change: Callable[[Session, str], Study], state: StudyState, job_state: JobState
) -> None:
    engine = create_engine(postgresql_url)
    study_id = create_study(engine)
    advance(engine)
    (screen,) = jobs_of(engine, study_id)
    lease = claim(engine, screen.id)

    def change_study() -> None:
        with session_scope(engine) as session:
            change(session, study_id)

    with ThreadPoolExecutor(1) as pool:
        with session_scope(engine) as session:
            leases.fence(session, lease).progress = {"step": 1}
            session.flush()
            changed = pool.submit(change_study)
            while not _waits_for_a_lock(engine):
                time.sleep(0.01)
        changed.result(60)
    assert study_of(engine, study_id).state is state
    assert [job.state for job in jobs_of(engine, study_id)] == [job_state]
    engine.dispose()
