"""Requests to measure an ONNX file on a named device: created here, claimed and completed by the device's agent."""

from dataclasses import asdict
from datetime import timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import MeasurementMismatch, MeasurementRequestNotFound
from ttm_jobs.models import Artifact, Job, MeasurementRequest, RequestState
from ttm_jobs.repositories.jobs.transitions import enqueue_study
from ttm_jobs.repositories.measuring import measurements
from ttm_jobs.repositories.measuring.measurements import Measured

# Longer than an agent takes for a large file at a low speed.
LEASE = timedelta(minutes=10)
# A file that stops the agent's machine must not do so forever.
MAX_CLAIMS = 3
_LONGEST_ERROR = 500


def request(
    session: Session,
    *,
    device: str,
    key: str,
    sha256: str,
    size: int,
    batch: int = 1,
    threads: int | None = 1,
    job_id: str | None = None,
    artifact: str | None = None,
    project_id: str | None = None,
) -> MeasurementRequest:
    """Requests the measurement of a stored ONNX file; returns the unfinished request for the same if there is one.

    Args:
        device: name of the device; it need not exist yet.
        key: storage key of the file, which must exist until the request is finished.
        sha256: hash of the file, which the agent verifies.
        size: bytes of the file.
        batch: images per run.
        threads: threads of the runtime; None for all cores of the device.
        job_id: the job that the file is an artifact of, if it is one.
        artifact: name of the artifact.
        project_id: default: the session's project.
    """
    project_id = project_id or project_of(session)
    same = session.scalar(
        select(MeasurementRequest)
        .where(
            MeasurementRequest.project_id == project_id,
            MeasurementRequest.device == device,
            MeasurementRequest.state.in_((RequestState.QUEUED, RequestState.CLAIMED)),
            MeasurementRequest.sha256 == sha256,
            MeasurementRequest.batch == batch,
            MeasurementRequest.threads.is_(None) if threads is None else MeasurementRequest.threads == threads,
            MeasurementRequest.job_id.is_(None) if job_id is None else MeasurementRequest.job_id == job_id,
        )
        .limit(1)
    )
    if same is not None:
        return same
    made = MeasurementRequest(
        id=new_id(),
        project_id=project_id,
        device=device,
        key=key,
        sha256=sha256,
        size=size,
        job_id=job_id,
        artifact=artifact,
        batch=batch,
        threads=threads,
        state=RequestState.QUEUED,
        created_at=now(session),
    )
    session.add(made)
    session.flush()
    return made


def request_artifact(
    session: Session, artifact: Artifact, *, device: str, batch: int = 1, threads: int | None = 1
) -> MeasurementRequest:
    """Requests the measurement of an artifact of a job."""
    return request(
        session,
        device=device,
        key=artifact.key,
        sha256=artifact.sha256,
        size=artifact.size,
        batch=batch,
        threads=threads,
        job_id=artifact.job_id,
        artifact=artifact.name,
        project_id=session.get_one(Job, artifact.job_id).project_id,
    )


def claim(session: Session, device: str) -> MeasurementRequest | None:
    """Claims the oldest request of a device of the session's project for ten minutes; None if there is none.

    A request whose lease expires is claimable again. After three claims without a result, it fails.
    """
    at = now(session)
    expired = and_(MeasurementRequest.state == RequestState.CLAIMED, MeasurementRequest.lease_expires_at <= at)
    while True:
        found = session.scalar(
            select(MeasurementRequest)
            .where(
                MeasurementRequest.project_id == project_of(session),
                MeasurementRequest.device == device,
                or_(MeasurementRequest.state == RequestState.QUEUED, expired),
            )
            .order_by(MeasurementRequest.created_at, MeasurementRequest.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if found is None:
            return None
        if found.claims >= MAX_CLAIMS:
            fail(session, found.id, f"claimed {MAX_CLAIMS} times by the device without a result")
            continue
        found.state = RequestState.CLAIMED
        found.claims += 1
        found.claimed_at = at
        found.lease_expires_at = at + LEASE
        session.flush()
        return found


def get(session: Session, request_id: str) -> MeasurementRequest:
    """Raises MeasurementRequestNotFound."""
    return _found(session.scalar(select(MeasurementRequest).where(MeasurementRequest.id == request_id)))


def complete(session: Session, request_id: str, values: Measured, *, created_by: str | None) -> MeasurementRequest:
    """Records the result of a request, and the measurement of the artifact if it is one. Repeating it has no effect.

    Raises:
        MeasurementRequestNotFound: there is no such request.
        MeasurementMismatch: another file, batch size or number of threads was measured.
    """
    found = _locked(session, request_id)
    if values.sha256 != found.sha256:
        raise MeasurementMismatch("The SHA-256 is not that of the requested file.")
    if values.batch != found.batch or found.threads not in (None, values.threads):
        raise MeasurementMismatch("The batch size or the number of threads is not the requested one.")
    if found.state is RequestState.DONE:
        return found
    found.state, found.error, found.finished_at = RequestState.DONE, None, now(session)
    found.result = asdict(values)
    if found.job_id is not None and found.artifact is not None:
        job = session.get_one(Job, found.job_id)
        measurements.record(session, job, found.artifact, found.device, values, created_by=created_by)
    session.flush()
    _notify_study(session, found)
    return found


def fail(session: Session, request_id: str, error: str) -> MeasurementRequest:
    """Records that a file was not measured. A finished request is unchanged. Raises MeasurementRequestNotFound."""
    found = _locked(session, request_id)
    if found.state not in (RequestState.DONE, RequestState.FAILED):
        found.state, found.error, found.finished_at = RequestState.FAILED, error[:_LONGEST_ERROR], now(session)
        session.flush()
        _notify_study(session, found)
    return found


def _notify_study(session: Session, finished: MeasurementRequest) -> None:
    """Lets the study of the measured job continue."""
    job = None if finished.job_id is None else session.get(Job, finished.job_id)
    if job is not None and job.study_id is not None:
        enqueue_study(session, job.study_id, now(session))


def _locked(session: Session, request_id: str) -> MeasurementRequest:
    query = select(MeasurementRequest).where(MeasurementRequest.id == request_id)
    return _found(session.scalar(query.with_for_update().execution_options(populate_existing=True)))


def _found(row: MeasurementRequest | None) -> MeasurementRequest:
    if row is None:
        raise MeasurementRequestNotFound
    return row
