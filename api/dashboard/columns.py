"""The columns of the jobs' list, and what only they compute."""

from dataclasses import dataclass
from datetime import UTC, datetime

from api.jobs.schemas import JobSummary


@dataclass(frozen=True)
class Column:
    """`name` is also that of the order by it."""

    name: str
    title: str
    number: bool = False
    optional: bool = True


def waited_seconds(job: JobSummary) -> float:
    """From submission to the first claim, or until now."""
    return ((job.started_at or job.finished_at or datetime.now(UTC)) - job.created_at).total_seconds()


def ran_seconds(job: JobSummary) -> float | None:
    """From the first claim to the end, or until now; None before it."""
    return None if job.started_at is None else ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds()


COLUMNS = (
    Column("name", "Job", optional=False),
    Column("state", "State", optional=False),
    Column("owner", "Owner"),
    Column("models", "Teacher → student"),
    Column("dataset", "Dataset"),
    Column("method", "Method"),
    Column("progress", "Progress"),
    Column("top1", "Top-1", number=True),
    Column("gap", "Gap", number=True),
    Column("compression", "Smaller", number=True),
    Column("attempt", "Attempt", number=True),
    Column("waited", "Queued for", number=True),
    Column("ran", "Run time", number=True),
    Column("submitted", "Submitted"),
)
