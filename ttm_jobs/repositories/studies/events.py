"""Reads of the event streams of studies."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import Study, StudyEvent
from ttm_jobs.repositories.run_data.events import StreamEvent, rows_after


def after(session: Session, study_id: str, number: int, *, limit: int = 500) -> Sequence[StreamEvent]:
    """Returns the events after a number in order; 0 returns all."""
    return rows_after(session, StudyEvent, StudyEvent.study_id == study_id, number, limit)


def last_event_numbers(session: Session, study_ids: Collection[str]) -> dict[str, int]:
    """The number of the newest event of each study. Omits studies that do not exist."""
    rows = session.execute(select(Study.id, Study.last_event_number).where(Study.id.in_(study_ids)))
    return {row.id: row.last_event_number for row in rows}
