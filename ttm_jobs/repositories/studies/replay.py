"""Computes the decisions of a study again from its stored results."""

from collections.abc import Set
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, Study
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.studies import facts as study_facts
from ttm_jobs.states import JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.result import decisions_json
from ttm_jobs.studies.states import ENDED


def replay(session: Session, study: Study, at: datetime) -> Json:
    """The decisions that follow from the plan, the measurements and the results of a study's jobs."""
    facts = study_facts.load(session, study, at)
    stopped = _stopped_at_end(session, study)
    trials = [replace(each, state=JobState.RUNNING) if each.job_id in stopped else each for each in facts.trials]
    # A study that ended at its deadline is decided as at that time; later, the deadline has no effect.
    ended_overdue = (
        study.state in ENDED
        and study.deadline_at is not None
        and study.finished_at is not None
        and study.finished_at >= study.deadline_at
    )
    overdue = ended_overdue or (study.state not in ENDED and facts.overdue)
    return decisions_json(decide(replace(facts, trials=trials, overdue=overdue)))


def _stopped_at_end(session: Session, study: Study) -> Set[str]:
    """The jobs that were cancelled because the study ended: its last decision saw them before."""
    if study.finished_at is None:
        return frozenset()
    cancelled = select(Job.id).where(
        Job.study_id == study.id, Job.state == JobState.CANCELLED, Job.finished_at >= study.finished_at
    )
    return frozenset(session.scalars(cancelled))
