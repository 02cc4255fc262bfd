"""Advances studies: decides their next actions and creates their jobs."""

import logging
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from ttm_core.spec.base import first_fault
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Study, StudyCandidate
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.jobs.transitions import ADVANCE_STUDY
from ttm_jobs.repositories.studies.advance import advance, block, fail
from ttm_jobs.studies.decision import Start
from ttm_jobs.studies.facts import JobKind

logger = logging.getLogger(__name__)

_BATCH = 50
# Messages of a dispatcher that died, or of a step that failed, become due again after this time.
_RETRY_AFTER = timedelta(seconds=5)


class StudyScheduler:
    """Advances the studies whose jobs have ended or paused. Several processes may do so concurrently."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def advance_due(self) -> int:
        """Advances the studies with due messages, each in its own transaction. Returns the number of messages."""
        with read_scope(self._engine) as session:
            if not outbox.any_due(session, ADVANCE_STUDY):
                return 0
        with session_scope(self._engine) as session:
            messages = outbox.take(session, ADVANCE_STUDY, limit=_BATCH, again_after=_RETRY_AFTER)
            by_study: dict[str, list[int]] = {}
            for message in messages:
                by_study.setdefault(message.payload["study_id"], []).append(message.id)
        for study_id, message_ids in by_study.items():
            try:
                self._advance(study_id)
            except Exception:
                # One study that cannot be advanced must not stop the others.
                logger.exception("study %s cannot be advanced", study_id)
                continue
            with session_scope(self._engine) as session:
                outbox.delivered(session, message_ids)
        return len(messages)

    def _advance(self, study_id: str) -> None:
        """Advances a study. If that fails, the study shows why; it fails if its jobs cannot be valid."""
        with read_scope(self._engine) as session:
            study = session.get(Study, study_id)
            if study is None:
                return
            project_id = study.project_id
        # Jobs are created in the study's project.
        engine = bound_to(self._engine, project_id)
        try:
            with session_scope(engine) as session:
                state = advance(session, study_id, job_fields)
        except DATABASE_UNAVAILABLE:
            raise
        except ValidationError as error:
            # Repeating cannot help: the spec was stored by another version of the service.
            logger.exception("study %s has jobs that are not valid", study_id)
            with session_scope(engine) as session:
                state = fail(session, study_id, "invalid_spec", _invalid(error))
        except Exception as error:
            with session_scope(engine) as session:
                block(session, study_id, _blocked(error))
            raise
        logger.info("study %s is %s", study_id, state)


def _invalid(error: ValidationError) -> str:
    fault = first_fault(error)
    return f"A job of the study would not be valid: {fault}. Submit the study again with a spec of this version."


def _blocked(error: Exception) -> str:
    return (
        f"The service cannot continue the study ({type(error).__name__}) and tries again every "
        f"{_RETRY_AFTER.total_seconds():.0f} seconds. The dispatcher's log has the details."
    )


def job_fields(study: Study, candidate: StudyCandidate, start: Start) -> dict[str, Any]:
    """The fields of a new job that follow from the study's spec."""
    spec = StudySpec.model_validate(study.spec)
    student = StudentSpec.model_validate(candidate.student)
    if start.kind is JobKind.DISTILL:
        job = spec.trial(student, candidate.search_values, seed=start.seed, baseline=start.baseline)
    else:
        job = spec.stage(student)
    return {
        "spec": job.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        "student": job.student_label[:128],
        "dataset": job.dataset.uri,
        "method": job.method.kind,
        "teacher": " + ".join(teacher.checkpoint for teacher in job.all_teachers)[:2048] or None,
        "gpus": job.training.devices,
        "device_kind": study.device_kind,
    }
