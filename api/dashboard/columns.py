"""The columns of the jobs' list: what they are called and how a page of jobs is put in their order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.dashboard.sizes import compression
from api.jobs.schemas import JobSummary


@dataclass(frozen=True)
class Column:
    """`key` gives what is compared, None for nothing yet, which comes last in either direction."""

    name: str
    title: str
    key: Callable[[JobSummary], Any]
    number: bool = False
    optional: bool = True


def waited_seconds(job: JobSummary) -> float:
    """From submission to the first claim, or until now."""
    return ((job.started_at or job.finished_at or datetime.now(UTC)) - job.created_at).total_seconds()


def ran_seconds(job: JobSummary) -> float | None:
    """From the first claim to the end, or until now; None before it."""
    return None if job.started_at is None else ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds()


def _submitted(job: JobSummary) -> datetime:
    return job.created_at


COLUMNS = (
    Column("name", "Job", lambda job: job.name, optional=False),
    Column("state", "State", lambda job: job.state, optional=False),
    Column("models", "Teacher → student", lambda job: job.student),
    Column("dataset", "Dataset", lambda job: job.dataset),
    Column("method", "Method", lambda job: job.method),
    Column("progress", "Progress", lambda job: job.progress.fraction if job.progress else None),
    Column("top1", "Top-1", lambda job: job.accuracy.student if job.accuracy else None, number=True),
    Column("gap", "Gap", lambda job: job.accuracy.gap_points if job.accuracy else None, number=True),
    Column("compression", "Smaller", lambda job: compression(job.teacher, job.student), number=True),
    Column("attempt", "Attempt", lambda job: job.attempt, number=True),
    Column("waited", "Queued for", waited_seconds, number=True),
    Column("ran", "Run time", ran_seconds, number=True),
    Column("submitted", "Submitted", _submitted),
)
_BY_NAME = {column.name: column for column in COLUMNS}


def arranged(jobs: Iterable[JobSummary], order: str) -> list[JobSummary]:
    """Jobs by the column that `order` names, downwards with a minus before it; as they are by an unknown one."""
    column = _BY_NAME.get(order.removeprefix("-"))
    if column is None:
        return list(jobs)
    pairs = [(column.key(job), job) for job in jobs]
    known = [pair for pair in pairs if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=order.startswith("-"))
    return [job for _, job in known] + [job for key, job in pairs if key is None]
