"""What the comparison page shows of a comparison: a row for each group, and the columns that say something."""

from dataclasses import dataclass
from statistics import median
from typing import Self

from api.comparisons.schemas import ComparedGroup, ComparedJob, JobComparison
from api.comparisons.seeds import mean_and_deviation
from ttm_jobs.states import JobState

# Beyond this ratio of the 90th percentile to the median, other load slowed the measurement.
_BUSY = 1.5


@dataclass(frozen=True)
class GroupRow:
    """A group with its jobs."""

    group: ComparedGroup
    jobs: list[ComparedJob]

    @classmethod
    def of(cls, group: ComparedGroup, comparison: JobComparison) -> Self:
        """The row of a group."""
        return cls(group, [job for job in comparison.jobs if job.id in group.jobs])

    @property
    def latency_ms(self) -> float | None:
        """The median of the jobs' medians."""
        values = self._values("latency_ms")
        return median(values) if values else None

    @property
    def p90_ms(self) -> float | None:
        """The median of the jobs' 90th percentiles."""
        values = self._values("latency_p90_ms")
        return median(values) if values else None

    @property
    def busy(self) -> bool:
        """Whether other load slowed the latency measurement."""
        return bool(self.latency_ms and self.p90_ms and self.p90_ms > _BUSY * self.latency_ms)

    def cost(self, name: str) -> float | None:
        """The least `parameters`, `macs` or `bytes` of the jobs."""
        return min(self._values(name), default=None)

    def mean(self, name: str) -> float | None:
        """The mean of the jobs' `teacher_top1`, `change_points` or `retention`."""
        return mean_and_deviation(self._values(name))[0]

    def _values(self, name: str) -> list[float]:
        """A field of the jobs that have it."""
        return [value for job in self.jobs if (value := getattr(job, name)) is not None]


# Columns that are shown only where a job has a value.
_OPTIONAL = ("change_points", "retention", "parameters", "macs", "bytes", "latency_ms")


def columns(comparison: JobComparison) -> set[str]:
    """The columns that say something: not empty, not the same teacher, not only succeeded jobs."""
    jobs = comparison.jobs
    shown = {name for name in _OPTIONAL if any(getattr(job, name) is not None for job in jobs)}
    if len({job.teacher for job in jobs if job.teacher}) > 1:
        shown.add("teacher")
    if any(job.state is not JobState.SUCCEEDED for job in jobs):
        shown.add("state")
    return shown | ({"difference"} if any(group.difference for group in comparison.groups) else set())
