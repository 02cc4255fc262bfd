"""The event stream of a project: states and phases of its jobs, and all events of its studies."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import event, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, ProjectEvent, ProjectStream, Study
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.run_data.events import StreamEvent, rows_after

_PENDING = "ttm_project_events"


def publish_job(session: Session, job: Job, kind: str, data: Json, at: datetime) -> None:
    """Adds a job's event to its project's stream when the transaction commits."""
    row = {"kind": f"job.{kind}", "job_id": job.id, "study_id": None, "at": at}
    _publish(session, job.project_id, row | {"data": {"job_id": job.id, "name": job.name, **data}})


def publish_study(session: Session, study: Study, kind: str, data: Json, at: datetime) -> None:
    """Adds a study's event to its project's stream when the transaction commits."""
    row = {"kind": f"study.{kind}", "job_id": None, "study_id": study.id, "at": at}
    _publish(session, study.project_id, row | {"data": {"study_id": study.id, "name": study.name, **data}})


def _publish(session: Session, project_id: str, row: Json) -> None:
    pending = session.info.setdefault(_PENDING, defaultdict(list))
    pending[project_id].append(row)


@event.listens_for(Session, "before_commit")
def _number(session: Session) -> None:
    pending: dict[str, list[Json]] | None = session.info.pop(_PENDING, None)
    if not pending:
        return
    # The stream's row is the last that a transaction locks, so its lock lasts no longer than the commit and closes no
    # cycle with the locks of jobs.
    session.flush()
    upsert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    for project_id, rows in sorted(pending.items()):
        last = session.execute(
            upsert(ProjectStream)
            .values(project_id=project_id, last_event_number=len(rows))
            .on_conflict_do_update(
                index_elements=["project_id"],
                set_={"last_event_number": ProjectStream.last_event_number + len(rows)},
            )
            .returning(ProjectStream.last_event_number)
        ).scalar_one()
        numbered = enumerate(rows, last - len(rows) + 1)
        session.execute(
            insert(ProjectEvent), [{"project_id": project_id, "number": number, **row} for number, row in numbered]
        )


@event.listens_for(Session, "after_rollback")
def _discard(session: Session) -> None:
    session.info.pop(_PENDING, None)


def after(session: Session, project_id: str, number: int, *, limit: int = 500) -> Sequence[StreamEvent]:
    """Returns the events after a number in order; 0 returns all."""
    return rows_after(session, ProjectEvent, ProjectEvent.project_id == project_id, number, limit)


def last_event_numbers(session: Session, project_ids: Collection[str]) -> dict[str, int]:
    """The number of the newest event of each project. Omits projects without events."""
    rows = session.execute(
        select(ProjectStream.project_id, ProjectStream.last_event_number).where(
            ProjectStream.project_id.in_(project_ids)
        )
    )
    return {row.project_id: row.last_event_number for row in rows}
