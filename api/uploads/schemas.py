"""Schemas of uploads."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.http.pagination import Page


class UploadOut(BaseModel):
    """An uploaded file."""

    id: str
    uri: str = Field(
        description="URI of the upload for specs.", examples=["upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"]
    )
    filename: str | None = Field(description="Name of the file, if it was sent.")
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="SHA-256 in hex.")
    created_at: datetime


class UploadPage(Page[UploadOut]):
    """Complete uploads, newest first."""
