"""Studies: creation, lists, candidates, changes and replays."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta

import structlog
from sqlalchemy.orm import Session

from api.architectures import installed
from api.http.pagination import cut_page, decode_cursor, decode_time_cursor, encode_time_cursor
from api.registry.resolution import resolve
from api.studies.creation import new_candidates, plan_of
from api.studies.schemas import CandidateList, FrontOut, Option, ReplayOut, StudyOut, StudyPage, StudyRequest
from api.studies.validation import check_request
from api.studies.views import by_candidate, candidate, detail, summary
from ttm_core.spec.job import StudentSpec, TeacherSpec
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.database.clock import now
from ttm_jobs.models import Job, Study
from ttm_jobs.repositories.studies import candidates, crud
from ttm_jobs.repositories.studies.crud import JobOptions
from ttm_jobs.repositories.studies.replay import replay as replayed
from ttm_jobs.settings import Settings
from ttm_jobs.studies.states import StudyState

log = structlog.get_logger()

_CURSOR = "studies"


def create(session: Session, settings: Settings, request: StudyRequest, *, owner: str | None) -> StudyOut:
    """Creates a running study. Raises FieldErrors with all errors that can be detected without a worker."""
    resolved = resolve(session, request)
    request = resolved.request
    check_request(session, settings, request)
    planned = request.candidates()
    models: list[TeacherSpec | StudentSpec] = [request.teacher, *(each.student for each in planned)]
    study = crud.create(
        session,
        spec=request.model_dump(mode="json", include=set(StudySpec.model_fields)),
        plan=asdict(plan_of(request)),
        candidates=new_candidates(planned),
        options=JobOptions(
            priority=request.priority,
            queue=request.queue or settings.queues[0],
            max_attempts=request.max_attempts or settings.max_attempts,
            device_kind=request.device,
            device_memory_bytes=request.device_memory_bytes,
            architectures=installed.needed(session, settings, models),
        ),
        name=request.name,
        owner=owner,
        tags=request.tags,
        resolved_references=resolved.resolved_references,
        deadline=timedelta(seconds=request.deadline) if isinstance(request.deadline, float) else request.deadline,
    )
    session.flush()
    log.info("study accepted", study_id=study.id, project=study.project_id, queue=study.queue)
    return detail(study)


def get(session: Session, study_id: str) -> StudyOut:
    """A study with all its details. Raises StudyNotFound."""
    return detail(crud.get(session, study_id))


def find(session: Session, reference: str) -> StudyOut:
    """The study with this id, id prefix or name. Raises StudyNotFound or AmbiguousStudy."""
    return detail(crud.find(session, reference))


def page(session: Session, *, limit: int, cursor: str | None, states: Sequence[StudyState] = ()) -> StudyPage:
    """A page of studies, newest first."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = crud.page(session, limit=limit + 1, before=before, states=states)
    rows, following = cut_page(_CURSOR, found, limit, lambda study: encode_time_cursor(study.created_at, study.id))
    return StudyPage(items=[summary(study) for study in rows], next_cursor=following, has_more=following is not None)


def candidate_list(session: Session, study_id: str) -> CandidateList:
    """The candidates of a study with their jobs. Raises StudyNotFound."""
    return with_teacher(session, study_id)[0]


def with_teacher(session: Session, study_id: str) -> tuple[CandidateList, float | None]:
    """The candidates of a study with their jobs, and the teacher's validation accuracy. It is that of the latest job
    that measured it, and None before the first. Raises StudyNotFound.
    """
    study = crud.get(session, study_id)
    jobs = crud.jobs_of(session, study.id)
    of_candidate = by_candidate(jobs)
    rows = candidates.of_study(session, study.id)
    found = CandidateList(items=[candidate(row, of_candidate.get(row.number, [])) for row in rows])
    measured = (accuracy for job in reversed(jobs) if (accuracy := _teacher_accuracy(job)) is not None)
    return found, next(measured, None)


def _teacher_accuracy(job: Job) -> float | None:
    known: float | None = ((job.result or {}).get("teacher_validation") or {}).get("top1")
    return job.latest.get("teacher/top1") if known is None else known


def front(session: Session, study_id: str) -> FrontOut:
    """The front of a study. Raises StudyNotFound."""
    study = crud.get(session, study_id)
    items = [] if study.result is None else study.result["front"]
    return FrontOut(items=[Option.model_validate(each) for each in items])


def change(session: Session, action: Callable[[Session, str], Study], study_id: str) -> StudyOut:
    """The study after an action: a repository function, which raises a Conflict if the state does not allow it."""
    study = action(session, study_id)
    session.flush()
    return detail(study)


def replay(session: Session, study_id: str) -> ReplayOut:
    """The decisions of a study, computed again from its stored results. Raises StudyNotFound."""
    study = crud.get(session, study_id)
    again = replayed(session, study, now(session))
    return ReplayOut(agrees=again == study.decisions, stored=study.decisions, replayed=again)
