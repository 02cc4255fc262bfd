"""Schemas of workers, teacher stores and usage."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.http.pagination import Page


class InstalledArchitecture(BaseModel):
    """An architecture of a package."""

    name: str
    origin: str = Field(description="Name and version of the package.")


class WorkerOut(BaseModel):
    """A worker process."""

    id: str
    hostname: str
    devices: list[Any] = Field(description="The devices that it trains on.")
    queues: list[str] = Field(description="The queues that it serves, in order of preference.")
    architectures: list[InstalledArchitecture] = Field(
        description="The architectures of packages that it has installed, in addition to those of the service."
    )
    started_at: datetime
    last_seen_at: datetime
    busy: bool = Field(description="Whether it is running a job.")
    job_id: str | None = Field(description="Its current job; null if it is idle or the job belongs to another project.")
    job_name: str | None = Field(description="The name of its current job.")
    error: str | None = Field(
        description="Error of the worker when it last tried to claim or run a job. null after a claim without an error."
    )


class WorkerList(BaseModel):
    """The active workers. The list is not paginated."""

    items: list[WorkerOut]


class StoreHost(BaseModel):
    """A host that has a teacher store on disk."""

    hostname: str
    size: int = Field(description="Bytes on disk.")
    rows: int = Field(description="Number of stored views.")
    used_at: datetime = Field(description="When a trainer on this host last opened it, for any project.")
    last_seen_at: datetime = Field(description="When a worker on this host last reported it.")


class StoreOut(BaseModel):
    """Stored logits of a teacher for the views of a dataset."""

    key: str = Field(
        description="Hash of everything that determines the logits: weights, images, augmentation, seed, precision."
    )
    teacher: str | None = Field(
        description="Architecture or URI of the teacher, from the most recent job that used it."
    )
    dataset: str = Field(description="Dataset of the same job.")
    encoding: str = Field(description="Format of the logits: `float16` or `int8`.")
    size: int = Field(description="Bytes on disk; the maximum over the hosts.")
    rows: int = Field(description="Number of stored views; the maximum over the hosts.")
    jobs: int = Field(description="Number of the project's jobs that used it, without deleted jobs.")
    cache_hits: int = Field(description="Images whose logits these jobs read from the store.")
    forwards: int = Field(description="Images that these jobs ran the teacher on.")
    last_used_at: datetime
    hosts: list[StoreHost]


class StorePage(Page[StoreOut]):
    """Teacher stores, most recently used first."""


class Limits(BaseModel):
    """Limits of a project: its own or the defaults of the service. null means unlimited."""

    running_jobs: int | None
    queued_jobs: int | None
    stored_bytes: int | None
    device_hours: float | None


class UsageOut(BaseModel):
    """The project's usage and limits."""

    project: str
    running_jobs: int
    queued_jobs: int
    stored_bytes: int = Field(description="Bytes of uploads, artifacts and checkpoints.")
    device_hours: float = Field(description="Device hours of all ended attempts.")
    limits: Limits
