"""Fills tables with copies of rows."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, inspect, select
from sqlalchemy.orm import Session

from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job, Study, StudyCandidate


def copy_jobs(session: Session, job_ids: Sequence[str], count: int) -> None:
    """Creates `count` copies of the jobs in turn, each one second older, without events and metrics."""
    originals = [_columns(session.get_one(Job, job_id)) for job_id in job_ids]
    rows = []
    for number in range(count):
        row = originals[number % len(originals)]
        created_at = row["created_at"] - number * timedelta(seconds=1)
        rows.append({**row, "id": new_id(), "name": f"copy {number}", "created_at": created_at})
    session.execute(insert(Job), rows)


def copy_study(session: Session, study_id: str, count: int) -> None:
    """Creates `count` copies of a study and its candidates, without its jobs and events."""
    study = _columns(session.get_one(Study, study_id))
    candidates = session.scalars(select(StudyCandidate).where(StudyCandidate.study_id == study_id))
    columns = [_columns(candidate) for candidate in candidates]
    ids = [new_id() for _ in range(count)]
    session.execute(insert(Study), [{**study, "id": each, "name": f"copy {each}"} for each in ids])
    session.execute(insert(StudyCandidate), [{**row, "study_id": each} for each in ids for row in columns])


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}
