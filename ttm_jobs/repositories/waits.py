"""What a queued job waits for, so that its user need not guess."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from sqlalchemy import String, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.clock import now
from ttm_jobs.models import Job, Project, Worker
from ttm_jobs.repositories import projects
from ttm_jobs.states import JobState

WaitsFor = Literal["time", "worker", "memory", "limit", "turn"]


@dataclass(frozen=True)
class Wait:
    """`reason` is a sentence for people."""

    what: WaitsFor
    reason: str


@dataclass(frozen=True)
class _Crew:
    """The workers heard of lately that serve a queue: all, those with memory enough, and of these the idle ones."""

    serving: int
    able: int
    idle: int
    largest_bytes: float | None


class Waits:
    """What jobs wait for at one moment. What several jobs ask alike is looked up once."""

    def __init__(self, session: Session, *, seen_within: timedelta) -> None:
        self._session = session
        self._seen_within = seen_within
        self._crews: dict[tuple[str, int | None], _Crew] = {}
        self._reached: dict[str, int | None] = {}

    def of(self, job: Job) -> Wait | None:
        """None for a job that is not queued."""
        if job.state is not JobState.QUEUED:
            return None
        if job.not_before is not None and job.not_before > self._at:
            return Wait("time", f"It is tried again at {job.not_before:%Y-%m-%d %H:%M:%S} UTC.")
        crew = self._crew(job.queue, job.device_memory_bytes)
        if crew.serving == 0:
            return Wait("worker", f"No worker that is up serves the queue {job.queue}.")
        if crew.able == 0:
            return Wait(
                "memory",
                f"It asks for {_gigabytes(job.device_memory_bytes or 0)} of device memory, and no worker of the queue "
                f"{job.queue} has more than {_gigabytes(crew.largest_bytes or 0)}.",
            )
        if (limit := self._limit_reached(job.project_id)) is not None:
            return Wait("limit", f"Its project has as many jobs running as it may ({limit}).")
        if crew.idle:
            return Wait("turn", "A worker is free and will take it, or one before it.")
        return Wait("turn", f"Every worker that could take it is busy ({crew.able}).")

    @cached_property
    def _at(self) -> datetime:
        # Asked for a queued job alone: the view of any other costs no look at the clock.
        return now(self._session)

    def _limit_reached(self, project_id: str) -> int | None:
        """How many jobs the project may have running, if it has as many."""
        if project_id not in self._reached:
            limit = self._session.scalar(select(Project.max_running_jobs).where(Project.id == project_id))
            reached = limit is not None and projects.running_jobs(self._session, project_id) >= limit
            self._reached[project_id] = limit if reached else None
        return self._reached[project_id]

    def _crew(self, queue: str, wanted_bytes: int | None) -> _Crew:
        if (queue, wanted_bytes) not in self._crews:
            # As text, which both databases have: a queue's name holds no quotation mark.
            serves = cast(Worker.queues, String).contains(f'"{queue}"', autoescape=True)
            memory = Worker.devices[0]["memory_bytes"].as_float()
            # A worker whose device tells of no memory takes any job.
            able = or_(memory.is_(None), memory >= (wanted_bytes or 0))
            idle = and_(able, Worker.job_id.is_(None))
            serving, can, free, largest = self._session.execute(
                select(func.count(), func.count(case((able, 1))), func.count(case((idle, 1))), func.max(memory)).where(
                    Worker.kind == "worker", Worker.seen_at >= self._at - self._seen_within, serves
                )
            ).one()
            self._crews[queue, wanted_bytes] = _Crew(serving, can, free, largest)
        return self._crews[queue, wanted_bytes]


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
