"""Parameters of GET /jobs/{id}: conditional requests and long polling."""

import re
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Header, Request
from sqlalchemy import Engine

from api.dependencies import Services, get_engine, get_services
from api.http.conditional_requests import IfNoneMatch, matches
from api.http.types import JobReference, is_id
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import crud

MAX_WAIT_SECONDS = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])", re.IGNORECASE)


@dataclass(frozen=True)
class Poll:
    """A request for a job. `condition` is the If-None-Match header; `waited` is the applied `Prefer: wait`, if any."""

    job_id: str
    engine: Engine
    services: Services
    condition: str | None
    waited: int | None


def etag(version: int) -> str:
    """The ETag of a job. It is weak, because a heartbeat alone does not change it."""
    return f'W/"{version}"'


async def _poll(
    job_id: JobReference,
    request: Request,
    if_none_match: IfNoneMatch = None,
    prefer: Annotated[
        str | None,
        Header(
            max_length=256,
            description=f"`wait=N`: with If-None-Match, wait up to N seconds for the job to change. Maximum "
            f"{MAX_WAIT_SECONDS}.",
        ),
    ] = None,
) -> Poll:
    engine, services = await get_engine(request), await get_services(request)
    if not is_id(job_id):
        job_id = await to_thread.run_sync(_find, engine, job_id)
    match = _WAIT.search(prefer or "")
    if match is None or if_none_match is None:
        return Poll(job_id, engine, services, if_none_match, None)
    seconds = min(int(match[1]), MAX_WAIT_SECONDS)

    def read_version(engine: Engine) -> int:
        with read_scope(engine) as session:
            return crud.stamp(session, job_id).version

    version = await to_thread.run_sync(read_version, engine)
    if matches(if_none_match, etag(version)):
        await services.changes.wait(job_id, version, seconds, request)
    return Poll(job_id, engine, services, if_none_match, seconds)


def _find(engine: Engine, reference: str) -> str:
    with read_scope(engine) as session:
        return crud.find(session, reference).id


PollDep = Annotated[Poll, Depends(_poll)]
