"""Schemas of comparisons of jobs."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.studies.schemas import Difference
from ttm_core.spec.events import Reference
from ttm_jobs.states import JobState


class ComparedJob(BaseModel):
    """One job of a comparison. Accuracies and ratios are in [0, 1]; unknown values are null."""

    id: str
    name: str | None
    state: JobState
    started_at: datetime | None
    teacher: str | None
    student: str
    dataset: str
    seed: int
    top1: float | None = Field(description="The student's accuracy on the comparison's split.")
    interval: tuple[float, float] | None = Field(description="95 % Wilson interval of `top1`.")
    against: Reference = Field(description="What `top1` is measured against: `labels`, or the `teacher`'s predictions.")
    teacher_top1: float | None
    change_points: float | None = Field(description="Student minus teacher in percentage points. Negative is worse.")
    retention: float | None = Field(description="Student accuracy divided by teacher accuracy.")
    parameters: int | None
    macs: int | None = Field(description="Multiply-accumulates for one image.")
    bytes: int | None = Field(description="Size of the smallest ONNX file.")
    latency_ms: float | None = Field(
        description="Median for one image in ONNX Runtime on the worker, float32, fewest threads measured."
    )
    latency_p90_ms: float | None = Field(description="The 90th percentile of the same measurement.")


class ComparedGroup(BaseModel):
    """Jobs that differ only in their seed."""

    label: str
    jobs: list[str] = Field(description="Ids of the jobs.")
    count: int = Field(description="Number of seeds with an accuracy. Runs with equal seeds count once.")
    mean: float | None = Field(description="Mean of `top1` over seeds.")
    deviation: float | None = Field(description="Standard deviation of `top1` over seeds; null for one seed.")
    difference: Difference | None = Field(
        None,
        description="Accuracy of this group minus that of the baseline; null for the baseline and where none can be "
        "computed.",
    )


class FieldDifference(BaseModel):
    """A spec field by its dotted name, and its value in each job. Null where the spec does not have the field."""

    field: str
    values: list[str | None]


class JobComparison(BaseModel):
    """Jobs side by side, on one split."""

    split: Literal["test", "validation"] = Field(
        description="`test` if every job with an accuracy has a test accuracy, else `validation`."
    )
    jobs: list[ComparedJob]
    groups: list[ComparedGroup]
    baseline: int | None = Field(
        description="Position in `groups` of the group that the others are compared with: that of the requested job, "
        "else the most accurate. Null if the jobs cannot be ranked."
    )
    verdict: str = Field(description="The result in one sentence.")
    problem: str | None = Field(description="Why the jobs cannot be ranked, if so.")
    differences: list[FieldDifference]
    metrics: list[str] = Field(description="Names of the metrics that at least one of the jobs has.")
