"""Reads the facts of a study, from which its decisions follow."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, Study, StudyCandidate, TeacherStoreUse
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.studies import candidates, device_latencies
from ttm_jobs.repositories.studies.device_latencies import Requests
from ttm_jobs.studies.facts import Candidate, Facts, FinalResult, JobKind, Limits, Plan, Screen, Timing, Trial, Variant


@dataclass(frozen=True)
class TeacherUse:
    """Images that ran through the teacher, and images whose logits were read from a store."""

    forwards: int
    cache_hits: int


def load(session: Session, study: Study, at: datetime) -> Facts:
    """The facts of a study at a time."""
    columns = (
        *(Job.id, Job.kind, Job.state, Job.candidate, Job.study_seed, Job.baseline, Job.rung),
        *(Job.rung_accuracies, Job.result, Job.failure, Job.device_seconds),
    )
    rows = session.execute(select(*columns).where(Job.study_id == study.id).order_by(Job.created_at, Job.id)).all()
    plan = plan_of(study.plan)
    screened = candidates.of_study(session, study.id)
    requested, trials = None, [trial_of(row) for row in rows]
    if plan.device is not None:
        trials = _with_device(session, plan.device, trials, screened)
        screens = [row.id for row in rows if row.kind is JobKind.SCREEN]
        requested = device_latencies.requested(session, plan.device, screens, screened)
    return Facts(
        plan=plan,
        candidates=[
            Candidate(row.number, row.key, screen_of(row.screen, row.number, requested), row.label) for row in screened
        ],
        trials=trials,
        device_hours=sum(row.device_seconds for row in rows) / 3600,
        stopped_at_rung=study.stopped_at_rung,
        overdue=study.deadline_at is not None and study.deadline_at <= at,
    )


def teacher_use(session: Session, study_id: str) -> TeacherUse:
    """The use of the teacher by all jobs of a study that have ended."""
    row = session.execute(
        select(func.sum(TeacherStoreUse.forwards), func.sum(TeacherStoreUse.cache_hits))
        .join(Job, Job.id == TeacherStoreUse.job_id)
        .where(Job.study_id == study_id)
    ).one()
    return TeacherUse(int(row[0] or 0), int(row[1] or 0))


def plan_of(plan: Json) -> Plan:
    return Plan(**{**plan, "limits": Limits(**plan["limits"])})


def screen_of(screen: Json | None, number: int, requested: Requests | None) -> Screen | None:
    """The measurements of a candidate. `requested` are those of the study's device, if it names one."""
    if screen is None:
        return None
    variants = []
    for file in screen.get("files", ()):
        known, latency_ms = Timing.DONE, file.get("latency_ms")
        if requested is not None:
            known, latency_ms = device_latencies.timing(file, requested.get((number, file["precision"])))
        variants.append(Variant(file["precision"], file["bytes"], latency_ms, known))
    return Screen(
        parameters=screen.get("parameters", 0),
        macs=screen.get("macs"),
        variants=tuple(variants),
        error=screen.get("error"),
    )


def _with_device(
    session: Session, device: str, trials: Sequence[Trial], screened: Sequence[StudyCandidate]
) -> list[Trial]:
    """The jobs with the latencies of their int8 files on the study's device, where they count.

    Only stored latencies are known, so that one that arrives after the study has ended changes no decision.
    """
    asked = device_latencies.requested_of_trained(session, device, [each.job_id for each in trials])
    known = device_latencies.stored_of_trained(screened)
    found = []
    for trial in trials:
        result = trial.result
        if result is not None and result.int8_in_float:
            timing = Timing.REQUESTED if trial.job_id in asked else Timing.MISSING
            if trial.job_id in known:
                timing = Timing.DONE
            result = replace(result, on_device=timing, device_latency_ms=known.get(trial.job_id))
        found.append(replace(trial, result=result))
    return found


def trial_of(row: Any) -> Trial:
    """A job of a study, from its row or the named columns."""
    failure = row.failure
    return Trial(
        job_id=row.id,
        kind=row.kind,
        state=row.state,
        candidate=row.candidate,
        seed=row.study_seed,
        baseline=row.baseline,
        rung=row.rung,
        accuracies={int(epoch): accuracy for epoch, accuracy in row.rung_accuracies.items()},
        result=None if row.result is None else _final(row.result),
        failure=None if failure is None else f"{failure['code']}: {failure['message']}",
    )


def _final(result: Json) -> FinalResult:
    def top1(name: str) -> float | None:
        part = result.get(name)
        return None if part is None else part["top1"]

    evaluated = result.get("student_test") or result["student_validation"]
    correct = result.get("correct")
    return FinalResult(
        validation=result["student_validation"]["top1"],
        teacher_validation=top1("teacher_validation"),
        test=top1("student_test"),
        teacher_test=top1("teacher_test"),
        correct=None if correct is None else _bits(correct, evaluated["images"]),
        int8_change=result.get("int8_change"),
        int8_validation_change=result.get("int8_validation_change"),
        onnx_bytes=result.get("onnx_bytes") or {},
        onnx_latency_ms=result.get("onnx_latency_ms") or {},
        int8_in_float=bool(result.get("int8_in_float")),
    )


def _bits(encoded: str, count: int) -> list[bool]:
    data = b64decode(encoded)
    return [bool(data[index // 8] >> (7 - index % 8) & 1) for index in range(count)]
