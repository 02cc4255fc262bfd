"""Which objects of the storage nobody names, and nobody may name any more."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import made_at
from ttm_jobs.models import Artifact, Attempt, Checkpoint, Job, Upload, UploadPart, UploadState


@dataclass(frozen=True)
class _Run:
    """Whose object a key of the form jobs/ID/EPOCH/... is."""

    job_id: str
    epoch: int


def abandoned(session: Session, keys: Collection[str], *, after: timedelta) -> set[str]:
    """Of these keys of existing objects, those that no row names and none will, since `after` at least.

    Only the holder of a lease names objects, and only those of its own epoch. So what lies under an epoch whose attempt
    has ended, and is not named, stays so. Keys of another form are left alone.
    """
    before = now(session) - after
    uploads = {key: key.removeprefix("uploads/") for key in keys if key.startswith("uploads/")}
    runs = {key: run for key in keys if (run := _run_of(key)) is not None}
    # In this order: what an attempt named in the moment of its end is seen by whoever has seen the end before.
    over = {run for run in set(runs.values()) if _is_over(session, run, before)}
    unnamed = {key for key, run in runs.items() if run in over} - _named(session, over)
    lost = {key for key, upload_id in uploads.items() if _is_old(upload_id, before)}
    parts = {key for key in keys if key.startswith("upload-parts/") and _is_old(key.rpartition("/")[2], before)}
    return unnamed | (lost - _named_uploads(session, lost)) | (parts - _named_parts(session, parts))


def forget_broken_uploads(session: Session, *, after: timedelta, limit: int = 100) -> None:
    """Removes the rows of uploads that have not ended, and of which nothing came since `after` ago: their senders are
    gone.
    """
    uploads = session.scalars(
        select(Upload)
        .where(
            Upload.state == UploadState.RECEIVING,
            func.coalesce(Upload.active_at, Upload.created_at) <= now(session) - after,
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    for upload in uploads:
        session.delete(upload)


def _run_of(key: str) -> _Run | None:
    match key.split("/"):
        case ["jobs", job_id, epoch, _, *_] if epoch.isdecimal():
            return _Run(job_id, int(epoch))
        case _:
            return None


def _named(session: Session, runs: Collection[_Run]) -> set[str]:
    jobs = {run.job_id for run in runs}
    # By the primary key's first column; the keys themselves have no index.
    return {
        *session.scalars(select(Artifact.key).where(Artifact.job_id.in_(jobs))),
        *session.scalars(select(Checkpoint.key).where(Checkpoint.job_id.in_(jobs))),
    }


def _named_uploads(session: Session, keys: Collection[str]) -> set[str]:
    ids = [key.removeprefix("uploads/") for key in keys]
    return set(session.scalars(select(Upload.key).where(Upload.id.in_(ids))))


def _named_parts(session: Session, keys: Collection[str]) -> set[str]:
    ids = {key.split("/")[1] for key in keys}
    return set(session.scalars(select(UploadPart.key).where(UploadPart.upload_id.in_(ids))))


def _is_over(session: Session, run: _Run, before: datetime) -> bool:
    attempt = session.get(Attempt, (run.job_id, run.epoch))
    if attempt is not None:
        return attempt.ended_at is not None and attempt.ended_at <= before
    # A job that is there without the attempt is a record restored from an older copy: its epochs will come again.
    return session.get(Job, run.job_id) is None and _is_old(run.job_id, before)


def _is_old(identifier: str, before: datetime) -> bool:
    made = made_at(identifier)
    return made is not None and made <= before
