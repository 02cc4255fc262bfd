"""Why queued jobs do not run yet."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Literal

from sqlalchemy import BigInteger, Boolean, Integer, Select, String, and_, bindparam, case, cast, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import UtcDateTime, now
from ttm_jobs.models import Job, Project, Worker
from ttm_jobs.repositories.access import projects, quotas
from ttm_jobs.repositories.installed import keys_of
from ttm_jobs.states import JobState

BlockedOn = Literal["time", "worker", "device", "memory", "architecture", "limit", "queue"]


@dataclass(frozen=True)
class BlockedReason:
    """What blocks a queued job. `reason` is a sentence for people."""

    what: BlockedOn
    reason: str


@dataclass(frozen=True)
class _QueueWorkers:
    """Numbers of responsive workers of a queue: all, those with the kind, number and precision of devices, those that
    also have enough memory, those that also have the architectures; among these, the idle ones, and those
    without a job after an error.
    """

    serving: int
    fitting: int
    large: int
    able: int
    idle: int
    broken: int
    largest_bytes: float | None


# Built once for each number: building the statement takes as long as executing it.
@cache
def _workers_query(architectures: int) -> Select[int, int, int, int, int, int, float | None]:
    """A query for `_QueueWorkers` of the workers that reported after `since`, have a queue that matches `pattern`, and
    have architectures that match `architecture_0`, `architecture_1`, ...
    """
    # Compared as text, which both databases support.
    serves = cast(Worker.queues, String).like(bindparam("pattern", type_=String), escape="/")
    device = Worker.devices[0]
    kind, count, memory = device["kind"].as_string(), device["count"].as_integer(), device["memory_bytes"].as_float()
    bfloat16 = device["bfloat16"].as_boolean()
    # A worker whose device is unknown accepts every job.
    wanted_kind = bindparam("kind", type_=String)
    fitting = and_(
        or_(kind.is_(None), wanted_kind == "", kind == wanted_kind),
        or_(kind.is_(None), kind != "cuda", count >= bindparam("gpus", type_=Integer)),
        or_(bindparam("any_precision", type_=Boolean), bfloat16.is_(None), bfloat16),
    )
    large = and_(fitting, or_(memory.is_(None), memory >= bindparam("wanted", type_=BigInteger)))
    installed = cast(Worker.architectures, String)
    able = and_(
        large,
        *(
            installed.like(bindparam(f"architecture_{index}", type_=String), escape="/")
            for index in range(architectures)
        ),
    )
    idle = and_(able, Worker.job_id.is_(None), Worker.error.is_(None))
    broken = and_(able, Worker.job_id.is_(None), Worker.error.is_not(None))
    return select(
        func.count(),
        func.count(case((fitting, 1))),
        func.count(case((large, 1))),
        func.count(case((able, 1))),
        func.count(case((idle, 1))),
        func.count(case((broken, 1))),
        func.max(case((fitting, memory))),
    ).where(Worker.kind == "worker", Worker.last_seen_at >= bindparam("since", type_=UtcDateTime), serves)


class BlockedReasons:
    """Computes what blocks queued jobs at one time (default: now). Caches lookups that several jobs share."""

    def __init__(self, session: Session, *, seen_within: timedelta, at: datetime | None = None) -> None:
        self._session = session
        self._given_at = at
        self._seen_within = seen_within
        self._workers_by_queue: dict[tuple[str, str | None, int, bool, int | None, str | None], _QueueWorkers] = {}
        self._reached: dict[str, int | None] = {}

    def of(self, job: Job) -> BlockedReason | None:
        """What blocks the job; None unless it is queued."""
        if job.state is not JobState.QUEUED:
            return None
        if job.not_before is not None and job.not_before > self._at:
            return BlockedReason("time", f"The job is retried at {job.not_before:%Y-%m-%d %H:%M:%S} UTC.")
        workers = self._queue_workers(job)
        if workers.serving == 0:
            return BlockedReason("worker", f"No running worker serves the queue {job.queue}.")
        if workers.fitting == 0:
            return BlockedReason(
                "device", f"The job needs {_devices(job)}, and no running worker of the queue {job.queue} has that."
            )
        if workers.large == 0:
            return BlockedReason(
                "memory",
                f"The job needs {_gigabytes(job.device_memory_bytes or 0)} of device memory, and no worker of the "
                f"queue {job.queue} has more than {_gigabytes(workers.largest_bytes or 0)}.",
            )
        if workers.able == 0:
            return BlockedReason(
                "architecture",
                f"The job needs {_architectures(job)}, and no running worker of the queue {job.queue} that has its "
                "devices has installed that.",
            )
        if workers.broken == workers.able:
            return BlockedReason(
                "worker",
                f"Every worker that could run it failed at its last claim or attempt ({workers.able}). "
                "The list of workers has the errors.",
            )
        if (limit := self._limit_reached(job.project_id)) is not None:
            return BlockedReason("limit", f"The project has reached its limit of running jobs ({limit}).")
        if workers.idle:
            return BlockedReason("queue", "A worker is idle and will claim this job or one ahead of it.")
        busy = "busy, or failed at its last claim or attempt" if workers.broken else "busy"
        return BlockedReason("queue", f"Every worker that could run it is {busy} ({workers.able}).")

    @cached_property
    def _at(self) -> datetime:
        # Read only for queued jobs, so that other jobs cost no query.
        return self._given_at or now(self._session)

    def _limit_reached(self, project_id: str) -> int | None:
        """The project's limit of running jobs if it is reached, else None."""
        if project_id not in self._reached:
            project = self._session.get(Project, project_id)
            limit = None if project is None else quotas.limits_of(self._session, project).running_jobs
            reached = limit is not None and projects.running_jobs(self._session, project_id) >= limit
            self._reached[project_id] = limit if reached else None
        return self._reached[project_id]

    def _queue_workers(self, job: Job) -> _QueueWorkers:
        needs = job.queue, job.device_kind, job.gpus, job.bfloat16, job.device_memory_bytes, job.architectures
        if needs not in self._workers_by_queue:
            architectures = keys_of(job.architectures)
            parameters = {
                "pattern": _quoted(job.queue),
                "kind": job.device_kind or "",
                "gpus": job.gpus,
                "any_precision": not job.bfloat16,
                "wanted": job.device_memory_bytes or 0,
                "since": self._at - self._seen_within,
                **{f"architecture_{index}": _quoted(each) for index, each in enumerate(architectures)},
            }
            query = _workers_query(len(architectures))
            self._workers_by_queue[needs] = _QueueWorkers(*self._session.execute(query, parameters).one())
        return self._workers_by_queue[needs]


def _quoted(name: str) -> str:
    """A pattern of LIKE for JSON with this string."""
    # Names contain no quotation mark, and of LIKE's special characters only the underscore.
    return f'%"{name.replace("_", "/_")}"%'


def _architectures(job: Job) -> str:
    parts = (key.partition("@") for key in keys_of(job.architectures))
    return " and ".join(f"the architecture {name} of the package {package}" for name, _, package in parts)


def _devices(job: Job) -> str:
    if job.device_kind == "cpu":
        return "a worker without GPUs"
    gpus = "a GPU" if job.gpus == 1 else f"{job.gpus} GPUs"
    if job.bfloat16:
        gpus += " with bfloat16 units (Ampere or newer)"
    return gpus if job.device_kind == "cuda" else f"{gpus} or a worker without GPUs"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
