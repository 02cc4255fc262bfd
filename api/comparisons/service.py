"""Compares jobs: accuracies on one split, costs, groups of seeds, and differences with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from api.comparisons.costs import student_costs
from api.comparisons.schemas import ComparedGroup, ComparedJob, JobComparison
from api.comparisons.scores import Score, Split, scores
from api.comparisons.seeds import Group, by_seed, differences, groups, mean_and_deviation, seed_of
from api.comparisons.verdict import verdict
from api.damage.service import NoDamageReport, predictions
from api.jobs import service as job_service
from api.jobs.schemas import JobOut
from api.studies.schemas import Difference
from ttm_core.spec.damage.predictions import Predictions
from ttm_jobs.errors import JobNotFinished
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from ttm_jobs.studies.rules import statistics
from ttm_jobs.studies.rules.statistics import over_common_seeds, paired_bootstrap

MAX_JOBS = 20
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
        differences_from = _Differences(session, storage, measured.split, members[chosen])
        for index, row in enumerate(rows):
            if index != chosen and row.mean is not None:
                row.difference = differences_from.of(members[index])
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
    values = _by_seed(members)
    mean, deviation = mean_and_deviation(list(values.values()))
    return ComparedGroup(
        label=group.label, jobs=[job.id for job in members], count=len(values), mean=mean, deviation=deviation
    )


def _baseline(rows: Sequence[ComparedGroup], job_id: str | None) -> int | None:
    """The position of the group of a job, else of the most accurate group."""
    ranked = [index for index, row in enumerate(rows) if row.mean is not None]
    of_job = [index for index in ranked if job_id in rows[index].jobs]
    return of_job[0] if of_job else max(ranked, key=lambda index: rows[index].mean or 0.0, default=None)


class _Differences:
    """Differences from one group on a split. Predictions are read once for all groups."""

    def __init__(self, session: Session, storage: Storage, split: Split, baseline: Sequence[ComparedJob]) -> None:
        self._session = session
        self._storage = storage
        self._split = split
        self._baseline = baseline
        self._known: dict[str, Predictions | None] = {}

    def of(self, jobs: Sequence[ComparedJob]) -> Difference | None:
        """Over two or more common seeds a t interval, else a bootstrap over the images of one job each."""
        found = over_common_seeds(_by_seed(jobs), _by_seed(self._baseline)) or self._over_images(jobs)
        return None if found is None else Difference(**asdict(found), shown=found.shown)

    def _over_images(self, jobs: Sequence[ComparedJob]) -> statistics.Difference | None:
        """None without predictions of the same images of the split."""
        for ours, theirs in _pairs(jobs, self._baseline):
            first, second = self._predictions(ours), self._predictions(theirs)
            if first is not None and second is not None and first.info.data == second.info.data:
                return paired_bootstrap(_correct(first), _correct(second))
        return None

    def _predictions(self, job: ComparedJob) -> Predictions | None:
        """A job's predictions if they can be compared: of the split, of images with labels, and not of too many."""
        if job.id not in self._known:
            self._known[job.id] = self._read(job)
        return self._known[job.id]

    def _read(self, job: ComparedJob) -> Predictions | None:
        try:
            found = predictions(self._session, self._storage, job.id)
        except (NoDamageReport, JobNotFinished):
            return None
        # A finished job has predictions of the test images only, also where the jobs are compared on validation images.
        usable = found.info.split == self._split and found.info.against == "labels"
        return found if usable and len(found.labels) <= _MAX_IMAGES else None


def _pairs(jobs: Sequence[ComparedJob], baseline: Sequence[ComparedJob]) -> Iterator[tuple[ComparedJob, ComparedJob]]:
    """Pairs of a job of each group: those with equal seeds by seed, then the first of each group by seed."""
    ours, theirs = ({job.seed: job for job in reversed(group) if job.top1 is not None} for group in (jobs, baseline))
    for seed in sorted(ours.keys() & theirs.keys()):
        yield ours[seed], theirs[seed]
    if ours and theirs:
        yield ours[min(ours)], theirs[min(theirs)]


def _by_seed(jobs: Sequence[ComparedJob]) -> dict[int, float]:
    return by_seed((job.seed, job.top1) for job in jobs)


def _correct(found: Predictions) -> list[bool]:
    """Which images the student classifies correctly."""
    return [guess == label for guess, label in zip(found.student.classes, found.labels, strict=True)]
