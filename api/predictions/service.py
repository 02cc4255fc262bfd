"""The ONNX files of a job that answer to an image."""

from sqlalchemy.orm import Session

from ttm_core.spec.damage.single_prediction import FILES
from ttm_jobs.errors import JobNotFinished, NotFound
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.states import JobState


class NoOnnxFile(NotFound):
    """The job has no ONNX file of its student: `exports` in its spec names no ONNX format."""

    code = "no_onnx_file"


def files_of(session: Session, job_id: str) -> dict[str, str]:
    """Storage keys of the job's ONNX files by name. Raises JobNotFound, JobNotFinished and NoOnnxFile."""
    job = crud.get(session, job_id)
    if job.state is not JobState.SUCCEEDED:
        raise JobNotFinished(f"The job is {job.state}. It predicts once it has succeeded.")
    keys = {row.name: row.key for row in artifacts.of_job(session, job_id) if row.name in FILES}
    if not any(FILES[name] != "teacher" for name in keys):
        raise NoOnnxFile
    return keys
