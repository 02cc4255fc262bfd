"""Compares jobs: accuracies on one split, costs, groups of seeds, and differences with intervals."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev

from sqlalchemy.orm import Session

from api.comparisons.costs import student_costs
from api.comparisons.schemas import ComparedGroup, ComparedJob, JobComparison
from api.comparisons.scores import Score, scores
from api.comparisons.seeds import Group, differences, groups, seed_of
from api.comparisons.verdict import verdict
from api.damage.service import NoDamageReport, predictions
from api.jobs import service as job_service
from api.jobs.schemas import JobOut
from api.studies.schemas import Difference
from ttm_jobs.errors import JobNotFinished
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from ttm_jobs.studies.rules.statistics import paired_bootstrap, paired_t

MAX_JOBS = 20
# The interval over seeds is tabulated for so many pairs.
_MAX_PAIRS = 10
# The exact bootstrap takes a second for this many images.
_MAX_IMAGES = 100_000


def compare(
    session: Session, storage: Storage, settings: Settings, job_ids: Sequence[str], baseline: str | None = None
) -> JobComparison:
    """The comparison of two or more jobs. `baseline` is one of them. Raises JobNotFound."""
    jobs = [job_service.get(session, settings, job_id) for job_id in job_ids]
    measured = scores(jobs)
    compared = [_job(session, storage, job, score) for job, score in zip(jobs, measured.by_job, strict=True)]
    found = groups(jobs)
    rows = [_group(group, compared) for group in found]
    chosen = None if measured.problem else _baseline(rows, baseline)
    if chosen is not None:
        members = [[compared[index] for index in group.members] for group in found]
        for index, row in enumerate(rows):
            if index != chosen and row.mean is not None:
                row.difference = _difference(session, storage, members[index], members[chosen])
    return JobComparison(
        split=measured.split,
        jobs=compared,
        groups=rows,
        baseline=chosen,
        verdict=measured.problem or verdict(rows, chosen),
        problem=measured.problem,
        differences=differences(jobs),
        metrics=sorted({name for job in jobs for name in job.metrics if "/" in name}),
    )


def _job(session: Session, storage: Storage, job: JobOut, score: Score) -> ComparedJob:
    shared = {
        name: getattr(job, name) for name in ("id", "name", "state", "started_at", "teacher", "student", "dataset")
    }
    return ComparedJob(
        **shared,
        seed=seed_of(job),
        top1=score.student,
        interval=score.interval,
        against=score.against,
        teacher_top1=score.teacher,
        change_points=score.change_points,
        retention=score.retention,
        **asdict(student_costs(session, storage, job.id)),
    )


def _group(group: Group, jobs: Sequence[ComparedJob]) -> ComparedGroup:
    members = [jobs[index] for index in group.members]
    values = [job.top1 for job in members if job.top1 is not None]
    return ComparedGroup(
        label=group.label,
        jobs=[job.id for job in members],
        count=len(values),
        mean=fmean(values) if values else None,
        deviation=stdev(values) if len(values) > 1 else None,
    )


def _baseline(rows: Sequence[ComparedGroup], job_id: str | None) -> int | None:
    """The position of the group of a job, else of the most accurate group."""
    ranked = [index for index, row in enumerate(rows) if row.mean is not None]
    of_job = [index for index in ranked if job_id in rows[index].jobs]
    return of_job[0] if of_job else max(ranked, key=lambda index: rows[index].mean or 0.0, default=None)


def _difference(
    session: Session, storage: Storage, first: Sequence[ComparedJob], second: Sequence[ComparedJob]
) -> Difference | None:
    """Over two or more common seeds a t interval, else a bootstrap over the images of one job each."""
    by_seed = [{job.seed: job.top1 for job in jobs if job.top1 is not None} for jobs in (first, second)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())[:_MAX_PAIRS]
    if len(seeds) > 1:
        found = paired_t(*([values[seed] for seed in seeds] for values in by_seed))
    else:
        correct = _correct(session, storage, first[0].id, second[0].id)
        if correct is None:
            return None
        found = paired_bootstrap(*correct)
    return Difference(**asdict(found), shown=found.shown)


def _correct(session: Session, storage: Storage, *job_ids: str) -> list[list[bool]] | None:
    """Which images the student of each job classifies correctly; None without predictions of the same images."""
    try:
        found = [predictions(session, storage, job_id) for job_id in job_ids]
    except (NoDamageReport, JobNotFinished):
        return None
    if len({each.info.data for each in found}) > 1 or any(each.info.against != "labels" for each in found):
        return None
    if len(found[0].labels) > _MAX_IMAGES:
        return None
    return [[guess == label for guess, label in zip(each.student.classes, each.labels, strict=True)] for each in found]
