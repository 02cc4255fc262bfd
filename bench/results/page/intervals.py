"""Means and differences with 95 % t intervals, in percentage points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.results.choice import Run
from ttm_jobs.studies.rules.statistics import paired_t


@dataclass(frozen=True)
class Interval:
    """A mean over `count` runs with its 95 % interval; `low` and `high` are None for a single run."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_of(values: Sequence[float]) -> Interval:
    """The mean of up to ten values."""
    if len(values) < 2:
        return Interval(fmean(values), None, None, len(values))
    found = paired_t(values, [0.0] * len(values))
    return Interval(found.mean, found.low, found.high, found.count)


def difference(runs: Sequence[Run], reference: Sequence[Run], field: str = "test") -> Interval | None:
    """The mean difference over the seeds that both have, in points; None without a common seed."""
    pairs = [(float(a[field]), float(b[field])) for a, b in _common(runs, reference)]
    return mean_of([100 * (a - b) for a, b in pairs]) if pairs else None


def ratio(runs: Sequence[Run], reference: Sequence[Run], field: str = "cpu_seconds") -> Interval | None:
    """The geometric mean of the ratios to the reference over the common seeds, with the interval of the logarithm."""
    pairs = [(a[field], b[field]) for a, b in _common(runs, reference) if a[field] and b[field]]
    if not pairs:
        return None
    found = mean_of([math.log(a / b) for a, b in pairs])
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(math.exp(found.mean), low, high, found.count)


def _common(runs: Sequence[Run], reference: Sequence[Run]) -> list[tuple[Run, Run]]:
    others = {run["seed"]: run for run in reference}
    return [(run, others[run["seed"]]) for run in runs if run["seed"] in others]
