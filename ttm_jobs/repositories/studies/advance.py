"""Decides the next actions of a study and applies them, in one transaction."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.errors import JobNotResumable, QuotaExceeded, StudyNotFound
from ttm_jobs.models import Job, Study, StudyCandidate
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs import control
from ttm_jobs.repositories.jobs import crud as jobs
from ttm_jobs.repositories.jobs.crud import StudyPlace
from ttm_jobs.repositories.jobs.transitions import enqueue_study
from ttm_jobs.repositories.jobs.transitions import locked as locked_job
from ttm_jobs.repositories.studies import candidates, crud, device_latencies
from ttm_jobs.repositories.studies import facts as study_facts
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.decision import Action, Continue, Decision, Fail, Measure, Reject, Start, Succeed
from ttm_jobs.studies.facts import Facts, JobKind
from ttm_jobs.studies.result import decisions_json, result_json
from ttm_jobs.studies.states import ENDED, StudyState

JobFields = Callable[[Study, StudyCandidate, Start], dict[str, Any]]
"""The fields of a new job that follow from the study's spec: arguments of `jobs.create`."""

_QUOTA_RETRY = timedelta(seconds=10)


def advance(session: Session, study_id: str, job_fields: JobFields) -> StudyState | None:
    """Decides and applies the next actions of a study. Returns its state; None if it does not exist.

    Call it in a session of the study's project. Any number of processes may call it concurrently: the study's row is
    locked, and a repeated call finds nothing to do.
    """
    study = _locked(session, study_id)
    if study is None:
        return None
    at = now(session)
    if study.state not in ENDED:
        device_latencies.record(session, study)
    facts = study_facts.load(session, study, at)
    if study.state in ENDED or (study.state is StudyState.PAUSED and not facts.overdue):
        return study.state
    decision = decide(facts)
    _record(session, study, decision, at)
    study.blocked_reason = _waiting_for_device(facts, decision)
    for action in decision.actions:
        try:
            _apply(session, study, facts, decision, action, job_fields, at)
        except QuotaExceeded as error:
            study.blocked_reason = error.message
            enqueue_study(session, study.id, at, _QUOTA_RETRY)
            break
    return study.state


def block(session: Session, study_id: str, reason: str) -> None:
    """Stores why a study that has not ended does not continue, until a call of `advance` succeeds."""
    study = _locked(session, study_id)
    if study is not None and study.state not in ENDED:
        study.blocked_reason = reason


def fail(session: Session, study_id: str, code: str, message: str) -> StudyState | None:
    """Ends a study that cannot continue. Returns its state; None if it does not exist."""
    study = _locked(session, study_id)
    if study is None:
        return None
    if study.state not in ENDED:
        _fail(session, study, Fail(code, message), now(session))
    return study.state


def _locked(session: Session, study_id: str) -> Study | None:
    """The study, which another process may have deleted: its messages outlive it."""
    try:
        return crud.locked(session, study_id)
    except StudyNotFound:
        return None


def _waiting_for_device(facts: Facts, decision: Decision) -> str | None:
    if not decision.unmeasured:
        return None
    device = facts.plan.device
    return (
        f"Waiting for the device {device} to measure {decision.unmeasured} files: run `ttm bench --agent --device-name "
        f"{device}` on it."
    )


def _record(session: Session, study: Study, decision: Decision, at: datetime) -> None:
    """Stores what was decided, with an event for everything new."""
    decided = decisions_json(decision)
    known = study.decisions.get("rungs", [])
    for rung in decided["rungs"][len(known) :]:
        crud.append(session, study, "rung", rung, at)
    if decided["finalists"] and not study.decisions.get("finalists"):
        crud.append(session, study, "finalists", {"finalists": decided["finalists"]}, at)
    if study.stage != decision.stage:
        study.stage = decision.stage
        crud.append(session, study, "stage", {"stage": decision.stage}, at)
    if decided != study.decisions:
        study.decisions = decided
    if study.stopped_at_rung is None and decision.stopped_at_rung is not None:
        study.stopped_at_rung = decision.stopped_at_rung


def _apply(
    session: Session,
    study: Study,
    facts: Facts,
    decision: Decision,
    action: Action,
    job_fields: JobFields,
    at: datetime,
) -> None:
    match action:
        case Start():
            _start(session, study, action, job_fields)
        case Measure():
            assert facts.plan.device is not None, "only a named device is asked"
            screen = next(trial.job_id for trial in facts.trials if trial.kind is JobKind.SCREEN)
            rows = candidates.of_study(session, study.id)
            device_latencies.ask(session, facts.plan.device, screen, rows, action.files)
            device_latencies.ask_trained(session, facts.plan.device, action.jobs)
        case Continue():
            _continue(session, action)
        case Reject():
            _reject(session, study, action, at)
        case Succeed():
            if action.recommendation is not None:
                use = study_facts.teacher_use(session, study.id)
                study.result = result_json(
                    facts, decision, teacher_forwards=use.forwards, teacher_cache_hits=use.cache_hits
                )
                crud.append(session, study, "result", {"recommendation": study.result["recommendation"]}, at)
            crud.move(session, study, StudyState.SUCCEEDED, at)
            crud.cancel_work(session, study)
        case Fail():
            _fail(session, study, action, at)
        case _:
            assert_never(action)


def _start(session: Session, study: Study, start: Start, job_fields: JobFields) -> Job:
    # Jobs without a candidate have the architecture of the first one; all candidates share the data and the teacher.
    candidate = session.get_one(StudyCandidate, (study.id, start.candidate or _first(study)))
    place = StudyPlace(study.id, start.kind, start.candidate, start.seed, start.baseline, start.rung, start.pause_after)
    return jobs.create(
        session,
        name=_name(study, candidate, start),
        owner=study.owner,
        tags=study.tags,
        priority=study.priority,
        queue=study.queue,
        device_memory_bytes=study.device_memory_bytes,
        architectures=study.architectures,
        max_attempts=study.max_attempts,
        resolved_references=study.resolved_references,
        study=place,
        **job_fields(study, candidate, start),
    )


def _first(study: Study) -> int:
    selected = study.decisions.get("selected") or [1]
    return int(selected[0])


def _name(study: Study, candidate: StudyCandidate, start: Start) -> str:
    match start.kind:
        case JobKind.SCREEN:
            part = "screen"
        case JobKind.TEACHER:
            part = "teacher"
        case JobKind.DISTILL:
            part = f"{candidate.label}, seed {start.seed}" + (", labels alone" if start.baseline else "")
        case _:
            assert_never(start.kind)
    return f"{study.name or 'study'}: {part}"[:200]


def _continue(session: Session, action: Continue) -> None:
    job = locked_job(session, action.job_id)
    if job.state is not JobState.PAUSED:
        return
    job.rung, job.pause_after_epoch = action.rung, action.pause_after
    try:
        control.resume(session, job.id)
    except JobNotResumable:
        return


def _reject(session: Session, study: Study, action: Reject, at: datetime) -> None:
    reason = {"stage": action.stage, "reason": action.reason}
    if not candidates.reject(session, study.id, action.candidate, reason):
        return
    crud.append(session, study, "rejected", {"candidate": action.candidate, **reason}, at)
    of_candidate = (Job.kind == JobKind.DISTILL, Job.candidate == action.candidate, Job.state.not_in(TERMINAL))
    for job in crud.locked_jobs(session, study.id, *of_candidate):
        control.request_cancel(session, job.id)


def _fail(session: Session, study: Study, action: Fail, at: datetime) -> None:
    study.failure = _failure(action)
    crud.move(session, study, StudyState.FAILED, at, failure=study.failure)
    crud.cancel_work(session, study)


def _failure(action: Fail) -> Json:
    nearest = [
        {
            "candidate": near.candidate,
            "precision": near.variant.precision,
            "misses": [{"limit": miss.limit, "allowed": miss.allowed, "value": miss.value} for miss in near.misses],
        }
        for near in action.nearest
    ]
    return {"code": action.code, "message": action.message, "nearest": nearest}
