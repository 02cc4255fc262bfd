"""Schemas of uploads."""

from datetime import datetime
from typing import Literal

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
    state: Literal["finalizing", "complete"] = Field(
        description="`finalizing`: all bytes are stored and the SHA-256 is being computed; `complete`: jobs can use it."
    )
    sha256: str | None = Field(description="SHA-256 in hex; null while the state is `finalizing`.")
    created_at: datetime


class UploadPage(Page[UploadOut]):
    """Complete uploads, newest first."""
