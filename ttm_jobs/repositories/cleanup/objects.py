"""Finds unreferenced objects in the storage."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import made_at
from ttm_jobs.models import Artifact, Attempt, Checkpoint, Job, Upload, UploadPart, UploadState


@dataclass(frozen=True)
class _AttemptKey:
    """The attempt of a key of the form jobs/ID/EPOCH/..."""

    job_id: str
    epoch: int


def unreferenced(session: Session, keys: Collection[str], *, after: timedelta) -> set[str]:
    """Returns the keys of attempts that ended at least `after` ago and that no row refers to, or will refer to.

    Only the holder of a lease records objects, and only of its own epoch. So an unreferenced object of an ended attempt
    stays unreferenced. Keys of another form are ignored.
    """
    before = now(session) - after
    uploads = {key: key.removeprefix("uploads/") for key in keys if key.startswith("uploads/")}
    runs = {key: run for key in keys if (run := _run_of(key)) is not None}
    # The order matters: objects that an attempt recorded when it ended are visible to a reader that has seen its end.
    ended = {run for run in set(runs.values()) if _has_ended(session, run, before)}
    orphans = {key for key, run in runs.items() if run in ended} - _recorded(session, ended)
    old = {key for key, upload_id in uploads.items() if _is_old(upload_id, before)}
    parts = {key for key in keys if key.startswith("upload-parts/") and _is_old(key.rpartition("/")[2], before)}
    return orphans | (old - _recorded_uploads(session, old)) | (parts - _recorded_parts(session, parts))


def delete_incomplete_uploads(session: Session, *, after: timedelta, limit: int = 100) -> None:
    """Deletes incomplete uploads that received no bytes for `after`."""
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


def _run_of(key: str) -> _AttemptKey | None:
    match key.split("/"):
        case ["jobs", job_id, epoch, _, *_] if epoch.isdecimal():
            return _AttemptKey(job_id, int(epoch))
        case _:
            return None


def _recorded(session: Session, runs: Collection[_AttemptKey]) -> set[str]:
    jobs = {run.job_id for run in runs}
    # By the primary key's first column: the storage keys have no index.
    return {
        *session.scalars(select(Artifact.key).where(Artifact.job_id.in_(jobs))),
        *session.scalars(select(Checkpoint.key).where(Checkpoint.job_id.in_(jobs))),
    }


def _recorded_uploads(session: Session, keys: Collection[str]) -> set[str]:
    ids = [key.removeprefix("uploads/") for key in keys]
    return set(session.scalars(select(Upload.key).where(Upload.id.in_(ids))))


def _recorded_parts(session: Session, keys: Collection[str]) -> set[str]:
    ids = {key.split("/")[1] for key in keys}
    return set(session.scalars(select(UploadPart.key).where(UploadPart.upload_id.in_(ids))))


def _has_ended(session: Session, run: _AttemptKey, before: datetime) -> bool:
    attempt = session.get(Attempt, (run.job_id, run.epoch))
    if attempt is not None:
        return attempt.ended_at is not None and attempt.ended_at <= before
    # A job without this attempt comes from a restored older backup; its epochs will be used again.
    return session.get(Job, run.job_id) is None and _is_old(run.job_id, before)


def _is_old(identifier: str, before: datetime) -> bool:
    made = made_at(identifier)
    return made is not None and made <= before
