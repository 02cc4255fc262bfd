"""What an upload looks like to a client."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.http.pagination import Page


class UploadOut(BaseModel):
    """A file that the service keeps."""

    id: str
    uri: str = Field(description="How a spec names it.", examples=["upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"])
    filename: str | None
    size: int = Field(description="Bytes.")
    sha256: str
    created_at: datetime


class UploadPage(Page[UploadOut]):
    """Complete uploads, newest first."""
