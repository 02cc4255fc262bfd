"""Artifacts: published files of jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.errors import ArtifactNotFound
from ttm_jobs.models import Artifact, Job

STUDENT = "student.safetensors"
LOG = "trainer.log"


@dataclass(frozen=True)
class PublishedFile:
    """A complete object in the storage."""

    name: str
    key: str
    media_type: str
    size: int
    sha256: str


def record(session: Session, job: Job, files: Sequence[PublishedFile]) -> list[str]:
    """Records the files of a locked job. Returns the keys of the objects that they replace."""
    at = now(session)
    replaced = []
    for file in files:
        before = session.get(Artifact, (job.id, file.name))
        if before is not None and before.key != file.key:
            replaced.append(before.key)
        session.merge(
            Artifact(
                job_id=job.id,
                name=file.name,
                key=file.key,
                media_type=file.media_type,
                size=file.size,
                sha256=file.sha256,
                lease_epoch=job.lease_epoch,
                created_at=at,
            )
        )
    return replaced


def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """Returns all, ordered by name."""
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)).all()


def get(session: Session, job_id: str, name: str) -> Artifact:
    """Returns an artifact. Raises ArtifactNotFound."""
    artifact = session.get(Artifact, (job_id, name))
    if artifact is None:
        raise ArtifactNotFound
    return artifact
