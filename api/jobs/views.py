"""Conversion of database rows to API schemas."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from api.architectures.compression import compression_of
from api.artifacts.schemas import LOG, artifact_view
from api.jobs.failures import Failure
from api.jobs.schemas import (
    Accuracy,
    AttemptOut,
    CheckpointOut,
    HistoryEntry,
    JobOut,
    JobSummary,
    Links,
    MetricPoint,
    Progress,
    StudyPlace,
    TeacherCheck,
)
from api.registry.references import path_of
from ttm_core.spec.events import Reference, wilson_interval
from ttm_jobs.models import Artifact, Attempt, Checkpoint, Job, JobEvent
from ttm_jobs.repositories.jobs.blocked import BlockedReason
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import JobKind


def summary(job: Job) -> JobSummary:
    """A job for a list."""
    teacher = teacher_of(job)
    return JobSummary(
        id=job.id,
        kind=job.kind,
        study=_study_place(job),
        name=job.name,
        tags=job.tags,
        owner=job.owner,
        state=job.state,
        phase=job.phase,
        teacher=teacher,
        student=job.student,
        dataset=job.dataset,
        method=job.method,
        progress=_progress(job.progress),
        metrics={name: value if isinstance(value, int | float) else None for name, value in job.latest.items()},
        accuracy=accuracy(job),
        compression=compression_of(job, teacher),
        priority=job.priority,
        queue=job.queue,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        deadline_at=job.deadline_at,
        failure=None if job.failure is None else Failure.model_validate(job.failure),
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        device_seconds=job.device_seconds,
        attempt_started_at=job.attempt_started_at,
        links=links(job),
    )


def detail(
    job: Job, artifacts: Sequence[Artifact], history: Iterable[HistoryEntry], blocked: BlockedReason | None
) -> JobOut:
    """A job with all its details."""
    fields = summary(job).model_dump()
    if any(row.name == LOG for row in artifacts):
        fields["links"]["log"] = f"/jobs/{job.id}/log"
    return JobOut(
        **fields,
        spec=job.resolved_spec or job.spec,
        resolved_references=job.resolved_references,
        resolved=job.resolved_spec is not None,
        reasons=job.resolved_reasons or {},
        result=job.result,
        student_structure=job.student_structure,
        teacher_check=_teacher_check(job),
        artifacts=[artifact_view(row) for row in artifacts],
        history=list(history),
        retry_of=job.retry_of,
        heartbeat_at=job.heartbeat_at,
        blocked_on=blocked and blocked.what,
        blocked_reason=blocked and blocked.reason,
    )


def entry(event: JobEvent) -> HistoryEntry:
    """A change of state or phase."""
    kind: Literal["state", "phase"] = "state" if event.kind == "state" else "phase"
    at: datetime = event.at
    return HistoryEntry(at=at, kind=kind, value=event.data[kind], attempt=event.data.get("attempt"))


def point(row: Point) -> MetricPoint:
    """The metrics of a step."""
    return MetricPoint(step=row.step, epoch=row.epoch, at=row.at, values=row.values)


def attempt(row: Attempt) -> AttemptOut:
    """One attempt."""
    cause = None
    if row.code is not None:
        cause = Failure(code=row.code, message=row.message or "", origin=row.origin, retryable=row.retryable)
    return AttemptOut(
        number=row.number,
        worker=row.worker_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        cause=cause,
        from_step=row.from_step,
        to_step=row.to_step,
    )


def checkpoint(row: Checkpoint) -> CheckpointOut:
    """A stored checkpoint."""
    return CheckpointOut(
        step=row.step, epoch=row.epoch, size=row.size, sha256=row.sha256, best=row.best, created_at=row.created_at
    )


def accuracy(job: Job) -> Accuracy | None:
    """The accuracy on the test split if there is one, else on the validation split. For a running job, the latest
    one.
    """
    if job.result is None:
        if (agreement := job.latest.get("validation/agreement")) is not None:
            return _compared("validation", None, agreement, against="teacher")
        student, teacher = job.latest.get("validation/top1"), job.latest.get("teacher/top1")
        return None if student is None and teacher is None else _compared("validation", teacher, student)
    split: Literal["test", "validation"] = "test" if job.result.get("student_test") else "validation"
    student, teacher = (job.result.get(f"{who}_{split}") or {} for who in ("student", "teacher"))
    images = student.get("images")
    low, high = wilson_interval(student["top1"], images) if images else (0.0, 1.0)
    return _compared(
        split,
        teacher.get("top1"),
        student.get("top1"),
        against=student.get("against", "labels"),
        interval=(round(low, 6), round(high, 6)) if images else None,
    )


def _teacher_check(job: Job) -> TeacherCheck | None:
    check = job.teacher_check
    return None if check is None else TeacherCheck.model_validate({**check, "interval": (check["low"], check["high"])})


def links(job: Job) -> Links:
    """The links of a job. Actions that its state does not allow are None."""
    base = f"/jobs/{job.id}"
    state = job.state
    retryable = state in (JobState.FAILED, JobState.CANCELLED) and job.kind is JobKind.DISTILL
    return Links(
        self=base,
        events=f"{base}/events",
        metrics=f"{base}/metrics",
        attempts=f"{base}/attempts",
        artifacts=f"{base}/artifacts",
        page=f"/ui/jobs/{job.id}",
        teacher=path_of(job.resolved_references.get("teacher")),
        dataset=path_of(job.resolved_references.get("dataset")),
        student=f"{base}/student" if state is JobState.SUCCEEDED and job.kind is JobKind.DISTILL else None,
        cancel=f"{base}/cancel" if state in _CANCELLABLE else None,
        pause=f"{base}/pause" if state in (JobState.QUEUED, JobState.RUNNING) else None,
        resume=f"{base}/resume" if state is JobState.PAUSED else None,
        retry=f"{base}/retry" if retryable else None,
    )


_CANCELLABLE = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.PAUSING, JobState.PAUSED})


def _study_place(job: Job) -> StudyPlace | None:
    if job.study_id is None:
        return None
    return StudyPlace(
        id=job.study_id,
        candidate=job.candidate or None,
        seed=job.study_seed,
        baseline=job.baseline,
        rung=job.rung,
        pause_after_epoch=job.pause_after_epoch,
    )


def _compared(
    split: Literal["test", "validation"],
    teacher: float | None,
    student: float | None,
    against: Reference = "labels",
    interval: tuple[float, float] | None = None,
) -> Accuracy:
    return Accuracy(
        split=split,
        against=against,
        teacher=teacher,
        student=student,
        interval=interval,
        change_points=round((student - teacher) * 100, 4) if teacher is not None and student is not None else None,
        retention=round(student / teacher, 6) if teacher and student is not None else None,
    )


def _progress(progress: dict[str, Any] | None) -> Progress | None:
    if progress is None:
        return None
    return Progress.model_validate({**progress, "fraction": progress["step"] / max(progress["total_steps"], 1)})


def teacher_of(job: Job) -> str | None:
    """The architecture of a job's teacher. Until it is known, the URI of its checkpoint."""
    spec: dict[str, Any] = job.resolved_spec or {}
    known = [spec["teacher"]] if spec.get("teacher") else spec.get("teachers") or []
    architectures = [teacher.get("architecture") for teacher in known]
    return " + ".join(architectures) if architectures and all(architectures) else job.teacher
