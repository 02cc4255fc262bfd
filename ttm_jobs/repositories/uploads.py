"""Uploads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, String, cast, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from ttm_jobs.database.audit import DISPATCHER, process_author, record
from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import UploadNotFound, UploadOffsetWrong
from ttm_jobs.models import Job, RegistryEntry, Study, Upload, UploadPart, UploadState
from ttm_jobs.models.upload import FINALIZING
from ttm_jobs.repositories.access import quotas
from ttm_jobs.states import TERMINAL
from ttm_jobs.studies.states import ENDED
from ttm_jobs.uris import uploads_in

_USE_INTERVAL = timedelta(hours=1)


def create(session: Session, *, filename: str | None, media_type: str, size: int | None = None) -> Upload:
    """Creates an upload in the state RECEIVING. An announced `size` counts against the quota from now on. Raises
    QuotaExceeded.
    """
    upload_id = new_id()
    project_id = project_of(session)
    quotas.check_bytes(session, project_id, size or 1)
    upload = Upload(
        id=upload_id,
        project_id=project_id,
        filename=filename,
        media_type=media_type,
        state=UploadState.RECEIVING,
        key=f"uploads/{upload_id}",
        size=size,
        received=0,
        created_at=now(session),
    )
    session.add(upload)
    return upload


def complete(session: Session, upload_id: str, *, size: int, sha256: str) -> Upload:
    """Marks an upload as complete. Raises QuotaExceeded and UploadNotFound."""
    upload = _locked(session, upload_id)
    if upload.state is UploadState.COMPLETE:
        return upload
    quotas.check_bytes(session, upload.project_id, size - (upload.size or 0))
    _set_complete(session, upload, size, sha256)
    return upload


def _set_complete(session: Session, upload: Upload, size: int, sha256: str) -> None:
    upload.state = UploadState.COMPLETE
    upload.size = size
    upload.sha256 = sha256
    upload.completed_at = now(session)
    upload.finalizing_until = None


def record_use(session: Session, ids: Collection[str]) -> None:
    """Records that a job refers to these uploads."""
    if not ids:
        return
    at = now(session)
    # At most once per interval: concurrent jobs with one teacher would wait for each other's row lock.
    session.execute(
        update(Upload)
        .where(Upload.id.in_(ids), Upload.state == UploadState.COMPLETE, _used_at() <= at - _USE_INTERVAL)
        .values(active_at=at)
        .execution_options(synchronize_session=False)
    )


def delete_unused(session: Session, *, unused_for: timedelta, limit: int = 100) -> int:
    """Deletes complete uploads that no job has used for this long, except those of unfinished jobs, unfinished
    studies and registry entries.

    Returns the number of deleted rows; 0 when there are none left.
    """
    before = now(session) - unused_for
    unused = (Upload.state == UploadState.COMPLETE, _used_at() <= before)
    if session.scalar(select(Upload.id).where(*unused).limit(1)) is None:
        return 0
    # Jobs created later have recorded the use of their uploads.
    live = select(cast(Job.spec, String)).where(Job.state.not_in(TERMINAL), Job.created_at <= before)
    # Later jobs of a study use its uploads; the earlier ones may all have ended, for example while a device measures.
    studies = select(cast(Study.spec, String)).where(Study.state.not_in(ENDED))
    defined = select(cast(RegistryEntry.spec, String)).where(RegistryEntry.removed_at.is_(None))
    kept = {
        upload_id
        for query in (live, studies, defined)
        for text in session.scalars(query.execution_options(yield_per=1000))
        for upload_id in uploads_in(text)
    }
    found = session.execute(
        select(Upload.id, Upload.project_id)
        .where(*unused, Upload.id.not_in(kept))
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for upload_id, project_id in found:
        record(session, process_author("uploads_expire", DISPATCHER), project_id=project_id, name=upload_id)
    session.execute(delete(Upload).where(Upload.id.in_([upload_id for upload_id, _ in found])))
    return len(found)


def _used_at() -> ColumnElement[datetime]:
    return func.coalesce(Upload.active_at, Upload.completed_at, Upload.created_at)


@dataclass(frozen=True)
class StoredPart:
    """A part of an upload: the key and the size in bytes of its object."""

    key: str
    size: int


def add_parts(
    session: Session, upload_id: str, *, start: int, parts: Sequence[StoredPart], sha256: str | None
) -> Upload:
    """Adds the next parts. The last byte completes the upload if `sha256`, the hash of all bytes, is known; otherwise
    the upload becomes FINALIZING. Raises UploadOffsetWrong and UploadNotFound.
    """
    upload = _locked(session, upload_id)
    check_offset(upload.received, start)
    if not parts:
        # An empty body. The upload may already be complete.
        return upload
    for part in parts:
        session.add(UploadPart(upload_id=upload_id, start=upload.received, size=part.size, key=part.key))
        upload.received += part.size
    upload.active_at = now(session)
    if upload.received == upload.size:
        if sha256 is None:
            upload.state = UploadState.FINALIZING
        else:
            _set_complete(session, upload, upload.size, sha256)
    return upload


def any_finalizing(session: Session) -> bool:
    """Whether a finalizing upload has no claim."""
    return session.scalar(_unclaimed(now(session))) is not None


def claim_finalizing(session: Session, lease: timedelta) -> Upload | None:
    """Claims a finalizing upload for the duration of `lease`; None if there is none without a claim."""
    at = now(session)
    upload = session.scalar(_unclaimed(at).with_for_update(skip_locked=True))
    if upload is not None:
        upload.finalizing_until = at + lease
    return upload


def _unclaimed(at: datetime) -> Select[Upload]:
    free = or_(Upload.finalizing_until.is_(None), Upload.finalizing_until <= at)
    return select(Upload).where(FINALIZING, free).limit(1)


def extend_finalizing(session: Session, upload_id: str, lease: timedelta) -> bool:
    """Extends a claim. Returns False if the upload is no longer finalizing or was deleted."""
    upload = session.get(Upload, upload_id, with_for_update=True)
    if upload is None or upload.state is not UploadState.FINALIZING:
        return False
    upload.finalizing_until = now(session) + lease
    return True


def finish(session: Session, upload_id: str, *, sha256: str) -> None:
    """Completes a finalizing upload with the hash of its bytes. Has no effect on an upload that was deleted."""
    upload = session.get(Upload, upload_id, with_for_update=True)
    if upload is not None and upload.state is UploadState.FINALIZING:
        _set_complete(session, upload, upload.received, sha256)


def check_offset(received: int, start: int) -> None:
    """Raises UploadOffsetWrong unless `start` is the number of received bytes."""
    if start != received:
        raise UploadOffsetWrong(f"The upload has {received} bytes; the request starts at {start}.")


def object_keys(session: Session, upload: Upload) -> Sequence[str]:
    """Returns the keys of the objects that hold the upload's bytes, in order."""
    parts = select(UploadPart.key).where(UploadPart.upload_id == upload.id).order_by(UploadPart.start)
    return session.scalars(parts).all() or [upload.key]


def is_expired(session: Session, upload: Upload, lifetime: timedelta) -> bool:
    """Whether an incomplete upload has received no bytes for this long."""
    at = upload.active_at or upload.created_at
    return upload.state is UploadState.RECEIVING and at + lifetime <= now(session)


def page(session: Session, *, limit: int, before: tuple[datetime, str] | None = None) -> Sequence[Upload]:
    """Returns complete uploads, newest first."""
    query = select(Upload).where(Upload.project_id == project_of(session), Upload.state == UploadState.COMPLETE)
    if before is not None:
        query = query.where(tuple_(Upload.created_at, Upload.id) < before)
    return session.scalars(query.order_by(Upload.created_at.desc(), Upload.id.desc()).limit(limit)).all()


def remove(session: Session, upload_id: str) -> None:
    """Deletes an upload."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def get(session: Session, upload_id: str) -> Upload:
    """Returns an upload. Raises UploadNotFound."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise UploadNotFound
    return upload


def _locked(session: Session, upload_id: str) -> Upload:
    upload = session.get(Upload, upload_id, with_for_update=True, populate_existing=True)
    if upload is None:
        raise UploadNotFound
    return upload
