"""What the service's own doing looks like to a client."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.http.pagination import Page


class WorkerOut(BaseModel):
    """A process that takes jobs."""

    id: str
    hostname: str
    devices: list[Any] = Field(description="What it trains on.")
    queues: list[str] = Field(description="Those it serves, the preferred first.")
    started_at: datetime
    last_seen_at: datetime
    busy: bool
    job_id: str | None = Field(description="The job it is at, if that is the project's own.")


class WorkerList(BaseModel):
    """The workers heard of lately; there are few, so the list has no pages."""

    items: list[WorkerOut]


class StoreHost(BaseModel):
    """A host whose workers hold a store."""

    hostname: str
    size: int = Field(description="Bytes on disk.")
    rows: int = Field(description="Views whose logits are there, in whole blocks.")
    used_at: datetime = Field(description="When a trainer there last opened it, whichever project's.")
    last_seen_at: datetime = Field(description="When a worker there last told of it.")


class StoreOut(BaseModel):
    """A teacher's logits for the views of a dataset."""

    key: str = Field(description="Of all that decides the numbers: weights, images, augmentation, seed, arithmetic.")
    teacher: str | None = Field(description="Of the newest job that had it open: architecture, or address.")
    dataset: str = Field(description="Of the same job.")
    encoding: str
    size: int = Field(description="Bytes on disk; the largest of the hosts'.")
    rows: int
    jobs: int = Field(description="Jobs of the project that had it open and are not deleted.")
    hits: int = Field(description="Images whose logits those jobs read instead of running the teacher.")
    filled: int = Field(description="Images that those jobs ran the teacher on.")
    last_used_at: datetime
    hosts: list[StoreHost]


class StorePage(Page[StoreOut]):
    """Teacher stores, the most recently used first."""


class Limits(BaseModel):
    """What a project may have; null: no limit."""

    running_jobs: int | None
    queued_jobs: int | None
    stored_bytes: int | None
    device_hours: float | None


class UsageOut(BaseModel):
    """What the project has and has used."""

    project: str
    running_jobs: int
    queued_jobs: int
    stored_bytes: int = Field(description="Of uploads, artifacts and checkpoints.")
    device_hours: float = Field(description="Of attempts that have ended.")
    limits: Limits
