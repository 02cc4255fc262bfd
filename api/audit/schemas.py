"""Schemas of the audit log."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.http.pagination import Page


class AuditEntryOut(BaseModel):
    """A change that a request made."""

    id: str
    created_at: datetime
    key_id: str | None = Field(description="Id of the API key; null for a request without a key.")
    user_id: str | None = Field(description="The person's subject at the identity provider; null for API keys.")
    actor: str | None = Field(description="Name of the API key or the person at the time of the change.")
    action: str = Field(description="Id of the operation.", examples=["jobs_cancel"])
    object: str | None = Field(
        description="The path parameters of the request, separated by `/`, or the id of the created object."
    )
    request_id: str = Field(description="The request's `X-Request-ID`.")
    address: str | None = Field(description="IP address of the client.")


class AuditPage(Page[AuditEntryOut]):
    """Entries of the audit log, newest first."""
