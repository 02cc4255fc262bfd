"""Uploads: received files."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from ttm_jobs.clock import now
from ttm_jobs.errors import UploadNotFound
from ttm_jobs.ids import new_id
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.repositories import quotas
from ttm_jobs.tenancy import project_of


def begin(session: Session, *, filename: str | None, media_type: str) -> Upload:
    """An upload whose bytes are on their way to storage under its `key`. QuotaExceeded."""
    upload_id = new_id()
    project_id = project_of(session)
    quotas.check_bytes(session, project_id, 1)
    upload = Upload(
        id=upload_id,
        project_id=project_id,
        filename=filename,
        media_type=media_type,
        state=UploadState.RECEIVING,
        key=f"uploads/{upload_id}",
        created_at=now(session),
    )
    session.add(upload)
    return upload


def complete(session: Session, upload_id: str, *, size: int, sha256: str) -> Upload:
    """Its object is whole. QuotaExceeded, UploadNotFound."""
    upload = get(session, upload_id)
    quotas.check_bytes(session, upload.project_id, size)
    upload.state = UploadState.COMPLETE
    upload.size = size
    upload.sha256 = sha256
    upload.completed_at = now(session)
    return upload


def remove(session: Session, upload_id: str) -> None:
    """Forgets an upload that was broken off."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def get(session: Session, upload_id: str) -> Upload:
    """UploadNotFound."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise UploadNotFound
    return upload
