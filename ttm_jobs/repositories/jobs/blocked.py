"""What a queued job waits for, so that its user need not guess."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from sqlalchemy import BigInteger, Select, String, and_, bindparam, case, cast, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import UtcDateTime, now
from ttm_jobs.models import Job, Project, Worker
from ttm_jobs.repositories.access import projects
from ttm_jobs.states import JobState

BlockedOn = Literal["time", "worker", "memory", "limit", "turn"]


@dataclass(frozen=True)
class BlockedReason:
    """`reason` is a sentence for people."""

    what: BlockedOn
    reason: str


@dataclass(frozen=True)
class _Crew:
    """The workers heard of lately that serve a queue: all, those with memory enough, and of these the idle ones."""

    serving: int
    able: int
    idle: int
    largest_bytes: float | None


def _crew_of_queue() -> Select[int, int, int, float | None]:
    """What `_Crew` holds of the workers whose queues have a name like `pattern` and that were seen since `since`."""
    # As text, which both databases have.
    serves = cast(Worker.queues, String).like(bindparam("pattern", type_=String), escape="/")
    memory = Worker.devices[0]["memory_bytes"].as_float()
    # A worker whose device tells of no memory takes any job.
    able = or_(memory.is_(None), memory >= bindparam("wanted", type_=BigInteger))
    idle = and_(able, Worker.job_id.is_(None))
    return select(func.count(), func.count(case((able, 1))), func.count(case((idle, 1))), func.max(memory)).where(
        Worker.kind == "worker", Worker.last_seen_at >= bindparam("since", type_=UtcDateTime), serves
    )


# Put together once, which takes as long as to ask it.
_CREW = _crew_of_queue()


class BlockedReasons:
    """What jobs wait for at one moment, by default this one. What several jobs ask alike is looked up once."""

    def __init__(self, session: Session, *, seen_within: timedelta, at: datetime | None = None) -> None:
        self._session = session
        self._given_at = at
        self._seen_within = seen_within
        self._crews: dict[tuple[str, int | None], _Crew] = {}
        self._reached: dict[str, int | None] = {}

    def of(self, job: Job) -> BlockedReason | None:
        """None for a job that is not queued."""
        if job.state is not JobState.QUEUED:
            return None
        if job.not_before is not None and job.not_before > self._at:
            return BlockedReason("time", f"It is tried again at {job.not_before:%Y-%m-%d %H:%M:%S} UTC.")
        crew = self._crew(job.queue, job.device_memory_bytes)
        if crew.serving == 0:
            return BlockedReason("worker", f"No worker that is up serves the queue {job.queue}.")
        if crew.able == 0:
            return BlockedReason(
                "memory",
                f"It asks for {_gigabytes(job.device_memory_bytes or 0)} of device memory, and no worker of the queue "
                f"{job.queue} has more than {_gigabytes(crew.largest_bytes or 0)}.",
            )
        if (limit := self._limit_reached(job.project_id)) is not None:
            return BlockedReason("limit", f"Its project has as many jobs running as it may ({limit}).")
        if crew.idle:
            return BlockedReason("turn", "A worker is free and will take it, or one before it.")
        return BlockedReason("turn", f"Every worker that could take it is busy ({crew.able}).")

    @cached_property
    def _at(self) -> datetime:
        # Asked for a queued job alone: the view of any other costs no look at the clock.
        return self._given_at or now(self._session)

    def _limit_reached(self, project_id: str) -> int | None:
        """How many jobs the project may have running, if it has as many."""
        if project_id not in self._reached:
            limit = self._session.scalar(select(Project.max_running_jobs).where(Project.id == project_id))
            reached = limit is not None and projects.running_jobs(self._session, project_id) >= limit
            self._reached[project_id] = limit if reached else None
        return self._reached[project_id]

    def _crew(self, queue: str, wanted_bytes: int | None) -> _Crew:
        if (queue, wanted_bytes) not in self._crews:
            # A queue's name holds no quotation mark, and of LIKE's signs one.
            pattern = f'%"{queue.replace("_", "/_")}"%'
            since = self._at - self._seen_within
            asked = {"pattern": pattern, "wanted": wanted_bytes or 0, "since": since}
            row = self._session.execute(_CREW, asked).one()
            self._crews[queue, wanted_bytes] = _Crew(*row)
        return self._crews[queue, wanted_bytes]


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
