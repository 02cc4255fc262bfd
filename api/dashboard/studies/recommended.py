"""The card of a study's recommended student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.damage import service as damage
from api.damage.service import NoDamageReport
from api.dashboard.jobs.detail import OnnxFile, onnx_files, speed
from api.jobs import service as jobs
from api.jobs.schemas import JobOut
from api.studies.schemas import CandidateOut, StudyOut, StudyRecommendation
from ttm_core.spec.damage.files import DAMAGE_FILE
from ttm_core.spec.damage.tables import retention_interval
from ttm_jobs.errors import JobNotFinished, JobNotFound
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

_ONNX = {"fp32": "student.onnx", "int8": "student-int8.onnx"}


@dataclass(frozen=True)
class SplitAccuracy:
    """The recommended student's accuracy on a split.

    Attributes:
        mean: in [0, 1], over the runs.
        teacher: the teacher's accuracy; None if it is unknown.
        interval: 95 % interval of the best run's accuracy; None if the run's accuracy is on another split.
        kept: 95 % interval of the best run's accuracy divided by the teacher's; None without a damage report on this
            split.
    """

    split: str
    mean: float
    teacher: float | None
    interval: tuple[float, float] | None
    kept: tuple[float, float] | None

    @property
    def change_points(self) -> float | None:
        """Mean accuracy minus the teacher's in percentage points."""
        return None if self.teacher is None else 100 * (self.mean - self.teacher)

    @property
    def retention(self) -> float | None:
        """Mean accuracy divided by the teacher's."""
        return self.mean / self.teacher if self.teacher else None


@dataclass(frozen=True)
class Recommended:
    """The recommended student.

    Attributes:
        validation: the accuracy that decides, and to which the limits apply.
        test: None without a test split.
        compression: parameters of the teacher over those of the student.
        job: the best run; None if it was deleted.
        files: its ONNX files.
        latencies: milliseconds for one image, of the recommended file by device, that of the limits first.
    """

    validation: SplitAccuracy
    test: SplitAccuracy | None
    compression: float | None
    job: JobOut | None
    files: Sequence[OnnxFile]
    latencies: Sequence[tuple[str, float]]

    @property
    def has_damage(self) -> bool:
        return self.job is not None and any(artifact.name == DAMAGE_FILE for artifact in self.job.artifacts)


def recommended(
    session: Session, settings: Settings, storage: Storage, study: StudyOut, candidates: Sequence[CandidateOut]
) -> Recommended | None:
    """The card of a study; None without a recommendation."""
    found = study.recommendation
    if found is None:
        return None
    job = _job(session, settings, found)
    teacher = found.validation / found.retention if found.retention else None
    kept = {} if job is None else _kept(session, storage, job.id)
    known = speed(session, storage, job.id) if job is not None else None
    measured = [] if known is None else known.measured.items
    # The best of each device: files are measured with several numbers of threads.
    latencies: dict[str, float] = {}
    for each in measured:
        if each.artifact == _ONNX[found.precision] and each.batch == 1:
            latencies[each.device] = min(each.p50_ms, latencies.get(each.device, each.p50_ms))
    limited = study.limits.get("device", "worker")
    if found.latency_ms is not None and (not latencies or limited != "worker"):
        # The worker measures the trained student again, and the device need not.
        measured_on = next((each.device for each in candidates if each.number == found.candidate), None)
        latencies.setdefault(measured_on or limited, found.latency_ms)
    return Recommended(
        validation=_accuracy("validation", found.validation, teacher, job, kept),
        test=None if found.test is None else _accuracy("test", found.test, None, job, kept),
        compression=None if job is None else job.compression,
        job=job,
        files=[] if job is None or known is None else onnx_files(job, known),
        latencies=sorted(latencies.items(), key=lambda each: (each[0] != limited, each[1])),
    )


def _job(session: Session, settings: Settings, found: StudyRecommendation) -> JobOut | None:
    try:
        return None if found.job is None else jobs.get(session, settings, found.job)
    except JobNotFound:
        return None


def _accuracy(
    split: str, mean: float, teacher: float | None, job: JobOut | None, kept: Mapping[str, tuple[float, float]]
) -> SplitAccuracy:
    """The accuracy on a split. Without a `teacher`, its accuracy is that of the best run, `job`."""
    of_job = job.accuracy if job is not None and job.accuracy is not None and job.accuracy.split == split else None
    if of_job is None:
        return SplitAccuracy(split, mean, teacher, None, kept.get(split))
    return SplitAccuracy(split, mean, of_job.teacher if teacher is None else teacher, of_job.interval, kept.get(split))


def _kept(session: Session, storage: Storage, job_id: str) -> dict[str, tuple[float, float]]:
    """The 95 % interval of a student's accuracy divided by its teacher's, from the images that each has right, by the
    split of these images.
    """
    try:
        report = damage.read(session, storage, job_id, None).report
    except (NoDamageReport, JobNotFinished):
        return {}
    if report.against != "labels":
        return {}
    lost, gained, both_wrong = (report.outcomes.get(name, 0) for name in ("lost", "gained", "both_wrong"))
    both = report.images - lost - gained - both_wrong
    return {report.split: retention_interval(both, gained, lost)} if both + lost else {}
