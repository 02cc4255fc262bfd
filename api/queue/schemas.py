"""Schemas of queues."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.http.pagination import Page
from ttm_jobs.repositories.jobs.blocked import BlockedOn


class QueueStats(BaseModel):
    """The project's jobs in one queue, and the workers that serve it."""

    name: str
    depth: int = Field(description="Queued jobs of the project.")
    oldest_age_seconds: float | None = Field(
        description="Age of the oldest queued job in seconds; null if there is none."
    )
    workers: int = Field(description="Active workers that serve the queue.")
    idle_workers: int = Field(description="Active workers of the queue without a job.")
    projects: int = Field(description="Number of projects with queued jobs that are below their limit of running jobs.")
    project_position: int | None = Field(
        description="Position of this project among them; 1 is next. Null if it has no queued jobs here or has "
        "reached its "
        "limit of running jobs."
    )


class QueueOut(BaseModel):
    """Queued and running jobs of the project."""

    depth: int = Field(description="Queued jobs of the project in all queues.")
    running: int = Field(description="Running jobs of the project.")
    oldest_age_seconds: float | None = Field(
        description="Age of the oldest queued job in seconds; null if there is none."
    )
    idle_workers: int = Field(description="Active workers of the service without a job.")
    queues: list[QueueStats] = Field(description="The queues of the service, and any other queue with queued jobs.")


class WaitingJob(BaseModel):
    """A queued job and its position."""

    id: str
    name: str | None
    owner: str | None
    teacher: str | None
    student: str
    position: int = Field(description="Position among the project's jobs in the queue; 1 is next.")
    priority: int
    device_memory_bytes: int | None
    attempt: int = Field(description="Number of attempts so far.")
    created_at: datetime
    queued_at: datetime
    not_before: datetime | None = Field(
        description="Earliest time of the next attempt, after an error; null otherwise."
    )
    deadline_at: datetime | None
    blocked_on: BlockedOn = Field(
        description="`worker`: no active worker serves the queue, or those that could run the job failed at "
        "their last claim or attempt; `device`: no worker has the devices that the job "
        "needs; `memory`: no worker has enough device memory; `architecture`: no worker has installed the package of "
        "the student's or a teacher's architecture; `limit`: the project has reached its limit of running jobs; "
        "`time`: waiting for a retry at `not_before`; `queue`: waiting for earlier jobs or a free worker."
    )
    blocked_reason: str = Field(description="Why the job is blocked, as a sentence.")


class WaitingPage(Page[WaitingJob]):
    """Queued jobs in scheduling order."""
