"""What waits, as a client sees it."""

from datetime import datetime

from pydantic import BaseModel, Field

from api.http.pagination import Page
from ttm_jobs.repositories.jobs.blocked import BlockedOn


class QueueLine(BaseModel):
    """What of the project waits in one queue, and who serves it."""

    name: str
    depth: int = Field(description="Queued jobs of the project.")
    oldest_age_seconds: float | None = Field(description="How long the longest-waiting of them has been queued.")
    workers: int = Field(description="Of the service that serve the queue.")
    idle_workers: int
    projects: int = Field(description="Projects of the service that wait in it and may run one more job.")
    turn: int | None = Field(
        description="Which of these projects this one is, 1 being the next; null if it has nothing there or is at its "
        "limit of running jobs."
    )


class QueueOut(BaseModel):
    """What waits, of the project."""

    depth: int = Field(description="Queued jobs.")
    running: int
    oldest_age_seconds: float | None = Field(description="How long the longest-waiting job has been queued.")
    idle_workers: int = Field(description="Of the service, whichever project they work for next.")
    queues: list[QueueLine] = Field(description="Those that a job may name, and any other in which something waits.")


class WaitingJob(BaseModel):
    """A queued job and its place in the line."""

    id: str
    name: str | None
    owner: str | None
    teacher: str | None
    student: str
    position: int = Field(description="Among the project's jobs of the queue, 1 being the next.")
    priority: int
    device_memory_bytes: int | None
    attempt: int = Field(description="Attempts so far.")
    created_at: datetime
    queued_at: datetime
    not_before: datetime | None = Field(description="It is tried again no sooner.")
    deadline_at: datetime | None
    blocked_on: BlockedOn = Field(
        description="worker: none serves the queue; memory: none that does has as much; limit: the project runs as "
        "many jobs as it may; time: it is tried again later; turn: those before it, or a worker to be free."
    )
    blocked_reason: str = Field(description="The same as a sentence.")


class WaitingPage(Page[WaitingJob]):
    """Jobs that wait in a queue, the next first."""
