"""Schemas of artifacts."""

from datetime import datetime

from pydantic import BaseModel, Field

from ttm_jobs.models import Artifact

LOG = "trainer.log"


class ArtifactOut(BaseModel):
    """A file that a job produced."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="SHA-256 in hex.")
    media_type: str
    href: str = Field(description="Download path.")


class LinkOut(BaseModel):
    """A signed path that works without a key until it expires."""

    href: str
    expires_at: datetime


class ArtifactList(BaseModel):
    """All artifacts of a job. The list is not paginated."""

    items: list[ArtifactOut]


def artifact_view(row: Artifact) -> ArtifactOut:
    """An artifact with its path."""
    return ArtifactOut(
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        media_type=row.media_type,
        href=f"/jobs/{row.job_id}/artifacts/{row.name}",
    )
