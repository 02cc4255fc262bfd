"""What a claimed job asks of its trainer besides its spec."""

from sqlalchemy.orm import Session

from ttm_core.spec.job import StudentSpec
from ttm_core.spec.study.run_options import RunOptions, ScreenedStudent
from ttm_jobs.models import Job, Study
from ttm_jobs.repositories.studies import candidates
from ttm_jobs.studies.facts import JobKind


def run_options(session: Session, job: Job, *, needs_gpu: bool) -> RunOptions:
    """The options of a job's run on a worker with GPUs (`needs_gpu`) or without. A screening job measures only the
    students that have no result yet, unless it publishes the files of all.
    """
    if job.study_id is None:
        return RunOptions(needs_gpu=needs_gpu)
    students, publish = [], False
    if job.kind is JobKind.SCREEN:
        publish = session.get_one(Study, job.study_id).plan["device"] is not None
        students = [
            ScreenedStudent(numbers=numbers, student=StudentSpec.model_validate(student))
            for numbers, student in candidates.students(session, job.study_id, unscreened=not publish)
        ]
    return RunOptions(
        kind=job.kind.value,
        pause_after_epoch=job.pause_after_epoch,
        record_correct=True,
        students=students,
        publish_files=publish,
        needs_gpu=needs_gpu,
    )
