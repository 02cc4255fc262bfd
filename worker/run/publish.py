"""Carries what a run made from the work directory into storage."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ttm_core.spec.events import Artifact
from ttm_jobs.errors import ChecksumMismatch, ServiceError
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data.artifacts import LOG, STUDENT, PublishedFile
from ttm_jobs.storage import Label, Storage
from worker.files import inside
from worker.trainer.log import LogFile

logger = logging.getLogger(__name__)


def publish_artifacts(
    storage: Storage, lease: Lease, workdir: Path, artifacts: Sequence[Artifact]
) -> list[PublishedFile]:
    """Whole objects, which nobody can see until the record names them. ValueError if there is no student among them or
    a file is not the trainer's own; ChecksumMismatch if a file is not the one that the trainer announced.
    """
    if STUDENT not in {artifact.name for artifact in artifacts}:
        raise ValueError(f"there is no {STUDENT}")
    published: list[PublishedFile] = []
    try:
        for artifact in artifacts:
            key = _key(lease, artifact.name)
            with inside(workdir, artifact.path).open("rb") as file:
                stored = storage.put(key, file, Label(artifact.media_type, _saved_as(lease, artifact.name)))
            published.append(PublishedFile(artifact.name, key, artifact.media_type, stored.size, stored.sha256))
            if stored.sha256 != artifact.sha256:
                raise ChecksumMismatch(f"{artifact.name} changed after the trainer had finished it.")
    except BaseException:
        delete_objects(storage, [file.key for file in published])
        raise
    return published


def publish_log(storage: Storage, lease: Lease, log: LogFile) -> PublishedFile:
    """The trainer's output, also of a run that failed."""
    key = _key(lease, LOG)
    media_type = "text/plain; charset=utf-8"
    stored = storage.put(key, log.read(), Label(media_type, LOG))
    return PublishedFile(LOG, key, media_type, stored.size, stored.sha256)


def delete_objects(storage: Storage, keys: Iterable[str]) -> None:
    """Deletes what no row names any more. What cannot be deleted now is only left over."""
    for key in keys:
        try:
            storage.delete(key)
        except (ServiceError, OSError) as error:
            logger.warning("%s is left in storage: %s", key, error)


def _saved_as(lease: Lease, name: str) -> str:
    # Whoever downloads several students wants to tell one from the other.
    return f"student-{lease.job_id}.safetensors" if name == STUDENT else name


def _key(lease: Lease, name: str) -> str:
    # Under the epoch: a worker that lost its lease overwrites nothing of the next one.
    return f"jobs/{lease.job_id}/{lease.epoch}/{name}"
