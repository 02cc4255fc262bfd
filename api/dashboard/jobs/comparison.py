"""What the comparison page shows of a comparison: a row for each group, and the columns that say something."""

from dataclasses import dataclass
from statistics import median
from typing import Self

from api.comparisons.schemas import ComparedGroup, ComparedJob, JobComparison
from ttm_jobs.states import JobState

# Beyond this ratio of the 90th percentile to the median, other load slowed the measurement.
_BUSY = 1.5


@dataclass(frozen=True)
class GroupRow:
    """A group with its jobs. `latency_ms` is the median of their medians, `p90_ms` that of their 90th percentiles."""

    group: ComparedGroup
    jobs: list[ComparedJob]
    latency_ms: float | None
    p90_ms: float | None

    @classmethod
    def of(cls, group: ComparedGroup, comparison: JobComparison) -> Self:
        """The row of a group."""
        jobs = [job for job in comparison.jobs if job.id in group.jobs]
        middle, high = (
            [value for job in jobs if (value := getattr(job, name)) is not None]
            for name in ("latency_ms", "latency_p90_ms")
        )
        return cls(group, jobs, median(middle) if middle else None, median(high) if high else None)

    @property
    def busy(self) -> bool:
        """Whether other load slowed the latency measurement."""
        return bool(self.latency_ms and self.p90_ms and self.p90_ms > _BUSY * self.latency_ms)

    def cost(self, name: str) -> float | None:
        """The least `parameters`, `macs` or `bytes` of the jobs."""
        return min((value for job in self.jobs if (value := getattr(job, name)) is not None), default=None)

    def mean(self, name: str) -> float | None:
        """The mean of the jobs' `teacher_top1`, `change_points` or `retention`."""
        values = [value for job in self.jobs if (value := getattr(job, name)) is not None]
        return sum(values) / len(values) if values else None


# Columns that are shown only where a job has a value.
_OPTIONAL = ("change_points", "retention", "parameters", "macs", "bytes", "latency_ms")


def columns(comparison: JobComparison) -> set[str]:
    """The columns that say something: not empty, not the same teacher, not only succeeded jobs."""
    jobs = comparison.jobs
    shown = {name for name in _OPTIONAL if any(getattr(job, name) is not None for job in jobs)}
    if len({job.teacher for job in jobs}) > 1:
        shown.add("teacher")
    if any(job.state is not JobState.SUCCEEDED for job in jobs):
        shown.add("state")
    return shown | ({"difference"} if any(group.difference for group in comparison.groups) else set())
