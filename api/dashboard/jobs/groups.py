"""Jobs grouped by tag, dataset, study or student, with mean and deviation over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from api.comparisons.seeds import by_seed, groups, mean_and_deviation, seed_of
from api.comparisons.service import MAX_JOBS
from api.dashboard.formats import basename
from api.jobs.schemas import JobSummary
from api.jobs.views import summary
from api.registry.resolution import resolve_filters
from api.saved_views.queries import Grouping
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.studies import crud

GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
MOST_JOBS = 200
MOST_LINKS = 12
_NONE = "(none)"


@dataclass(frozen=True)
class ConfigurationRow:
    """Jobs that differ only in their seed. `mean` and `deviation` are of top-1 in [0, 1] over `count` seeds, `change`
    is the mean accuracy change in points; None where no job has them.
    """

    label: str
    jobs: list[JobSummary]
    count: int
    mean: float | None
    deviation: float | None
    change: float | None

    @property
    def compression(self) -> float | None:
        return self.jobs[0].compression


@dataclass(frozen=True)
class JobGroup:
    """The jobs with one tag, dataset, study or student. `compared` is the address of their comparison if few."""

    title: str
    jobs: int
    rows: list[ConfigurationRow]
    compared: str | None


def grouped(session: Session, by: Grouping, filters: JobFilters) -> list[JobGroup]:
    """The newest matching jobs in groups; the group with the newest job comes first. A job with several tags is in the
    group of each.
    """
    jobs = listing.page(session, limit=MOST_JOBS, filters=resolve_filters(session, filters)).jobs
    members: dict[str, list[Job]] = {}
    for job in jobs:
        for key in _keys(job, by):
            members.setdefault(key, []).append(job)
    names = crud.names(session, list(members)) if by == "study" else {}
    return [_group(names.get(key) or key, found) for key, found in members.items()]


def _keys(job: Job, by: Grouping) -> Sequence[str]:
    match by:
        case "tag":
            return job.tags or [_NONE]
        case "dataset":
            return [basename(job.dataset)]
        case "study":
            return [job.study_id or _NONE]
        case "student":
            return [job.student]


def _group(title: str, jobs: Sequence[Job]) -> JobGroup:
    rows = [_row(group.label, [jobs[index] for index in group.members]) for group in groups(jobs)]
    address = f"/ui/compare?{urlencode([('job', job.id) for job in jobs])}" if 2 <= len(jobs) <= MAX_JOBS else None
    return JobGroup(title, len(jobs), sorted(rows, key=lambda row: -(row.mean or -1.0)), address)


def _row(label: str, jobs: Sequence[Job]) -> ConfigurationRow:
    rows = [summary(job) for job in jobs]
    scores = [(seed_of(job), row.accuracy) for job, row in zip(jobs, rows, strict=True) if row.accuracy is not None]
    values = by_seed((seed, score.student) for seed, score in scores)
    changes = by_seed((seed, score.change_points) for seed, score in scores)
    change, _ = mean_and_deviation(list(changes.values()))
    return ConfigurationRow(label, rows, len(values), *mean_and_deviation(list(values.values())), change)
