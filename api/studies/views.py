"""Conversion of studies from database rows to API schemas."""

from collections.abc import Iterable, Sequence

from api.studies.schemas import (
    CandidateFile,
    CandidateJob,
    CandidateOut,
    Rejection,
    StudyLinks,
    StudyOut,
    StudySummary,
)
from ttm_jobs.models import Job, Study, StudyCandidate
from ttm_jobs.studies.facts import JobKind
from ttm_jobs.studies.states import ENDED, StudyState


def summary(study: Study) -> StudySummary:
    """A study for a list."""
    return StudySummary.model_validate(_fields(study))


def detail(study: Study) -> StudyOut:
    """A study with all its details."""
    decisions = study.decisions
    return StudyOut.model_validate(
        {
            **_fields(study),
            "spec": study.spec,
            "resolved_references": study.resolved_references,
            "selected": decisions.get("selected", []),
            "rungs": decisions.get("rungs", []),
            "finalists": decisions.get("finalists", []),
            "result": study.result,
        }
    )


def candidate(row: StudyCandidate, jobs: Iterable[Job]) -> CandidateOut:
    """A candidate with its jobs."""
    screen = row.screen or {}
    return CandidateOut(
        number=row.number,
        label=row.label,
        student=row.student,
        values=row.search_values,
        parameters=screen.get("parameters") or None,
        macs=screen.get("macs"),
        files=[CandidateFile.model_validate(file) for file in screen.get("files", [])],
        device=screen.get("device"),
        runtime=screen.get("runtime"),
        rejected=None if row.rejected is None else Rejection.model_validate(row.rejected),
        jobs=[
            CandidateJob(
                job=job.id,
                state=job.state,
                seed=job.study_seed,
                baseline=job.baseline,
                rung=job.rung,
                accuracies=job.rung_accuracies,
                validation=((job.result or {}).get("student_validation") or {}).get("top1"),
            )
            for job in jobs
        ],
    )


def by_candidate(jobs: Sequence[Job]) -> dict[int, list[Job]]:
    """The training jobs of a study by candidate."""
    found: dict[int, list[Job]] = {}
    for job in jobs:
        if job.kind is JobKind.DISTILL:
            found.setdefault(job.candidate, []).append(job)
    return found


def _fields(study: Study) -> dict[str, object]:
    recommendation = None if study.result is None else study.result["recommendation"]
    return {
        "id": study.id,
        "name": study.name,
        "tags": study.tags,
        "owner": study.owner,
        "state": study.state,
        "stage": study.stage,
        "goal": study.plan["goal"],
        "limits": study.spec["limits"],
        "recommendation": recommendation,
        "failure": study.failure,
        "blocked_reason": study.blocked_reason,
        "priority": study.priority,
        "queue": study.queue,
        "deadline_at": study.deadline_at,
        "created_at": study.created_at,
        "finished_at": study.finished_at,
        "links": _links(study, None if recommendation is None else recommendation["job"]),
    }


def _links(study: Study, job: str | None) -> StudyLinks:
    base = f"/studies/{study.id}"
    return StudyLinks(
        self=base,
        candidates=f"{base}/candidates",
        events=f"{base}/events",
        jobs=f"/jobs?study={study.id}",
        page=f"/ui/studies/{study.id}",
        student=None if job is None else f"/jobs/{job}/student",
        cancel=None if study.state in ENDED else f"{base}/cancel",
        pause=f"{base}/pause" if study.state is StudyState.RUNNING else None,
        resume=f"{base}/resume" if study.state is StudyState.PAUSED else None,
    )
