"""Uploads a run's artifacts and log to the storage."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm.attributes import flag_modified

from ttm_core.spec.events import Artifact
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.errors import ChecksumMismatch, LeaseLost, ServiceError
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import artifacts as artifact_rows
from ttm_jobs.repositories.run_data.artifacts import LOG, STUDENT, PublishedFile
from ttm_jobs.storage import Label, Storage
from worker.background import BackgroundThread
from worker.files import inside
from worker.trainer.log import LogFile

logger = logging.getLogger(__name__)

_SHARE_BYTES = 1024**2


def publish_artifacts(
    storage: Storage, lease: Lease, workdir: Path, artifacts: Sequence[Artifact], *, with_student: bool = True
) -> list[PublishedFile]:
    """Uploads artifacts, which are invisible until they are recorded.

    Raises ValueError without a student if there must be one, and for a file outside the work directory;
    ChecksumMismatch for changed files.
    """
    if with_student and STUDENT not in {artifact.name for artifact in artifacts}:
        raise ValueError(f"there is no {STUDENT}")
    published: list[PublishedFile] = []
    try:
        for artifact in artifacts:
            key = _key(lease, artifact.name)
            with inside(workdir, artifact.path).open("rb") as file:
                stored = storage.put(key, file, Label(artifact.media_type, _saved_as(lease, artifact.name)))
            published.append(PublishedFile(artifact.name, key, artifact.media_type, stored.size, stored.sha256))
            if stored.sha256 != artifact.sha256:
                raise ChecksumMismatch(f"{artifact.name} changed after the trainer had written it.")
    except BaseException:
        delete_objects(storage, [file.key for file in published])
        raise
    return published


def publish_log(storage: Storage, lease: Lease, log: LogFile) -> PublishedFile:
    """Uploads the trainer's log."""
    key = _key(lease, LOG)
    media_type = "text/plain; charset=utf-8"
    stored = storage.put(key, log.read(), Label(media_type, LOG))
    return PublishedFile(LOG, key, media_type, stored.size, stored.sha256)


def delete_objects(storage: Storage, keys: Iterable[str]) -> None:
    """Deletes unreferenced objects. Failures are logged; the collector deletes the rest later."""
    for key in keys:
        try:
            storage.delete(key)
        except (ServiceError, OSError) as error:
            logger.warning("%s could not be deleted: %s", key, error)


def _saved_as(lease: Lease, name: str) -> str:
    # Distinguishes the downloads of several students.
    return f"student-{lease.job_id}.safetensors" if name == STUDENT else name


def _key(lease: Lease, name: str) -> str:
    # The epoch prevents a worker that lost its lease from overwriting objects of the next attempt.
    return f"jobs/{lease.job_id}/{lease.epoch}/{name}"


class LiveLog(BackgroundThread):
    """A thread that uploads the log every `interval` seconds while the trainer runs.

    Every upload contains the whole log, so a longer log is uploaded less often. The final log is published with the
    attempt's artifacts.
    """

    def __init__(self, engine: Engine, storage: Storage, lease: Lease, log: LogFile, *, interval: float) -> None:
        super().__init__("live log")
        self._engine = engine
        self._storage = storage
        self._lease = lease
        self._log = log
        self._interval = interval
        self._recorded = -1

    def _run(self) -> None:
        while not self._ended.wait(self._interval * max(1.0, self._recorded / _SHARE_BYTES)):
            if self._log.size in (0, self._recorded):
                continue
            try:
                self._publish_now()
            except LeaseLost:
                return
            except (ServiceError, OSError, *DATABASE_UNAVAILABLE) as error:
                # The next upload may succeed; nothing depends on this one.
                logger.warning("the log of job %s could not be uploaded: %s", self._lease.job_id, describe_error(error))

    def _publish_now(self) -> None:
        file = publish_log(self._storage, self._lease, self._log)
        try:
            with session_scope(self._engine) as session:
                job = leases.fence(session, self._lease)
                replaced = artifact_rows.record(session, job, [file])
                # Changes the job's version, so that clients that poll it see new log lines.
                flag_modified(job, "last_event_seq")
        except LeaseLost:
            # A log that is already recorded stays until the next attempt replaces it.
            if self._recorded < 0:
                delete_objects(self._storage, [file.key])
            raise
        self._recorded = file.size
        delete_objects(self._storage, replaced)
