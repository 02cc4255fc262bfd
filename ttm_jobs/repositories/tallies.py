"""How many jobs there are of each kind."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job
from ttm_jobs.states import JobState


def by_state(session: Session) -> dict[JobState, int]:
    """The number of jobs in each state, 0 where there are none."""
    rows = session.execute(select(Job.state, func.count(Job.state)).group_by(Job.state))
    counted: dict[JobState, int] = dict(rows.all())
    return {state: counted.get(state, 0) for state in JobState}
