"""How a job is asked for again and again: with the ETag of what is known, and willing to wait for something new."""

import re
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Header, Request
from sqlalchemy import Engine

from api.dependencies import Services, get_engine, get_services
from api.http.conditional import IfNoneMatch, names
from api.http.types import JobId
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import crud

LONGEST_WAIT_SECONDS = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])", re.IGNORECASE)


@dataclass(frozen=True)
class Poll:
    """Which job is asked for, and where. `condition` names what the client has; `waited` is the time it was willing to
    wait, if it was.
    """

    job_id: str
    engine: Engine
    services: Services
    condition: str | None
    waited: int | None


def etag(version: int) -> str:
    """Of a job's view. It is weak: the age of a heartbeat alone makes no other view."""
    return f'W/"{version}"'


async def _poll(
    job_id: JobId,
    request: Request,
    if_none_match: IfNoneMatch = None,
    prefer: Annotated[
        str | None,
        Header(
            max_length=256,
            description=f"`wait=N`: with If-None-Match, answer when the job has changed or N seconds are over; "
            f"{LONGEST_WAIT_SECONDS} at most.",
        ),
    ] = None,
) -> Poll:
    engine, services = await get_engine(request), await get_services(request)
    match = _WAIT.search(prefer or "")
    if match is None or if_none_match is None:
        return Poll(job_id, engine, services, if_none_match, None)
    seconds = min(int(match[1]), LONGEST_WAIT_SECONDS)

    def look(engine: Engine) -> int:
        with read_scope(engine) as session:
            return crud.stamp(session, job_id).version

    version = await to_thread.run_sync(look, engine)
    if names(if_none_match, etag(version)):
        await services.changes.wait(job_id, version, seconds, request)
    return Poll(job_id, engine, services, if_none_match, seconds)


PollDep = Annotated[Poll, Depends(_poll)]
