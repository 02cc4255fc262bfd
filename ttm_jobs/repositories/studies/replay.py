"""Computes the decisions of a study again from its stored results."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from ttm_jobs.models import Study
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.studies import facts as study_facts
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.result import decisions_json
from ttm_jobs.studies.states import ENDED


def replay(session: Session, study: Study, at: datetime) -> Json:
    """The decisions that follow from the plan, the measurements and the results of a study's jobs."""
    facts = study_facts.load(session, study, at)
    # A study that ended at its deadline is decided as at that time; later, the deadline has no effect.
    ended_overdue = (
        study.state in ENDED
        and study.deadline_at is not None
        and study.finished_at is not None
        and study.finished_at >= study.deadline_at
    )
    return decisions_json(decide(replace(facts, overdue=ended_overdue or (study.state not in ENDED and facts.overdue))))
