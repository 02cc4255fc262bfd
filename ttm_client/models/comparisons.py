"""Typed responses about comparisons of jobs."""

from datetime import datetime
from html import escape

from ttm_client.models.base import ApiModel, html_table
from ttm_client.models.studies import Difference


class ComparedJob(ApiModel):
    """One job of a comparison. Accuracies and ratios are in [0, 1]; `interval` is the 95 % Wilson interval of `top1`.
    `bytes` is the size of the smallest ONNX file; the latencies are those of one image on the worker. Unknown values
    are None.

    >>> [job.seed for job in client.jobs.compare(done.id, queued.id).jobs]
    [0, 0]
    """

    id: str
    name: str | None
    state: str
    started_at: datetime | None
    teacher: str | None
    student: str
    dataset: str
    seed: int
    top1: float | None
    interval: tuple[float, float] | None
    against: str
    teacher_top1: float | None
    change_points: float | None
    retention: float | None
    parameters: int | None
    macs: int | None
    bytes: int | None
    latency_ms: float | None
    latency_p90_ms: float | None


class ComparedGroup(ApiModel):
    """Jobs that differ only in their seed: mean and standard deviation of `top1` over `count` seeds, and the difference
    from the baseline.

    >>> len(client.jobs.compare(done.id, queued.id).groups[0].jobs)
    2
    """

    label: str
    jobs: tuple[str, ...]
    count: int
    mean: float | None
    deviation: float | None
    difference: Difference | None


class FieldDifference(ApiModel):
    """A spec field by its dotted name, and its value in each job; None where a spec does not have it.

    >>> [each.field for each in client.jobs.compare(done.id, queued.id).differences]
    []
    """

    field: str
    values: tuple[str | None, ...]


class Comparison(ApiModel):
    """Jobs side by side on one split. `baseline` is the position in `groups` of the group that the others are compared
    with; `problem` says why the jobs cannot be ranked, if so.

    >>> comparison = client.jobs.compare(done.id, queued.id)
    >>> comparison.split
    'test'
    """

    split: str
    jobs: tuple[ComparedJob, ...]
    groups: tuple[ComparedGroup, ...]
    baseline: int | None
    verdict: str
    problem: str | None
    differences: tuple[FieldDifference, ...]
    metrics: tuple[str, ...]

    def _repr_html_(self) -> str:
        rows = [
            [group.label, group.count, _percent(group.mean), _percent(group.deviation), _words(group.difference)]
            for group in self.groups
        ]
        table = html_table(["", "seeds", f"top-1 ({self.split})", "deviation", "difference from the baseline"], rows)
        return f"<p>{escape(self.verdict)}</p>{table}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _words(difference: Difference | None) -> str:
    if difference is None:
        return ""
    interval = f"[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
    return f"{100 * difference.mean:+.2f} {interval}" if difference.shown else f"no difference shown {interval}"
