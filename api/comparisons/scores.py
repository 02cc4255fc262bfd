"""Accuracies of compared jobs on one split, and whether they can be ranked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api.jobs.schemas import JobOut
from ttm_core.spec.events import Reference, wilson_interval

Split = Literal["test", "validation"]


@dataclass(frozen=True)
class Score:
    """Top-1 accuracies in [0, 1] of one job on one split. `against` is what the student is compared with: `labels`, or
    `teacher` for its agreement with the teacher on unlabelled images.
    """

    student: float | None = None
    teacher: float | None = None
    against: Reference = "labels"
    images: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the student's accuracy; None where the number of images is not known."""
        return None if self.student is None or not self.images else wilson_interval(self.student, self.images)

    @property
    def change_points(self) -> float | None:
        """Student minus teacher in percentage points: negative is worse."""
        return None if self.student is None or self.teacher is None else (self.student - self.teacher) * 100

    @property
    def retention(self) -> float | None:
        """Student over teacher."""
        return None if self.student is None or not self.teacher else self.student / self.teacher


@dataclass(frozen=True)
class Scores:
    """The scores of the compared jobs, all on the same split. `problem` says why the jobs cannot be ranked, if so."""

    split: Split
    by_job: list[Score]
    problem: str | None


def scores(jobs: Sequence[JobOut]) -> Scores:
    """Scores on the test split if every job with a score has one, else on the validation split."""
    test, validation = ([_score(job, split) for job in jobs] for split in ("test", "validation"))
    measured = [
        index for index in range(len(jobs)) if any(part[index].student is not None for part in (test, validation))
    ]
    on_test = bool(measured) and all(test[i].student is not None for i in measured)
    chosen = test if on_test else validation
    return Scores("test" if on_test else "validation", chosen, _problem([(jobs[i], chosen[i]) for i in measured]))


def _score(job: JobOut, split: str) -> Score:
    if job.result is None:
        if split == "test":
            return Score()
        if (agreement := job.metrics.get("validation/agreement")) is not None:
            return Score(agreement, None, "teacher")
        return Score(job.metrics.get("validation/top1"), job.metrics.get("teacher/top1"))
    student, teacher = (job.result.get(f"{who}_{split}") or {} for who in ("student", "teacher"))
    return Score(student.get("top1"), teacher.get("top1"), student.get("against", "labels"), student.get("images"))


def _problem(measured: Sequence[tuple[JobOut, Score]]) -> str | None:
    if len({job.dataset for job, _ in measured}) > 1:
        return "These jobs use different datasets, so their accuracies cannot be ranked. No Pareto front is drawn."
    if len({score.against for _, score in measured}) > 1:
        return (
            "Some of these accuracies are agreement with the teacher, others accuracy on labels, so they cannot be "
            "ranked. No Pareto front is drawn."
        )
    return None
