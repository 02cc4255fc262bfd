"""What an artifact looks like to a client."""

from datetime import datetime

from pydantic import BaseModel, Field


class ArtifactOut(BaseModel):
    """A file that a job made."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str
    media_type: str
    href: str = Field(description="Path to download it from.")


class LinkOut(BaseModel):
    """A path that works without a key for a while."""

    href: str
    expires_at: datetime


class ArtifactList(BaseModel):
    """Every artifact of a job; there are few, so the list has no pages."""

    items: list[ArtifactOut]
