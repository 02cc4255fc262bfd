"""Parameters of job routes: the body of a submission, the filters of the list, and long polling of one job."""

import re
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Body, Depends, Header, Query, Request
from fastapi.openapi.models import Example
from sqlalchemy import Engine

from api.dependencies import Services, get_engine, get_services
from api.http.conditional_requests import IfNoneMatch, matches
from api.http.types import JobReference, NoControls, UtcDatetime, is_id
from api.jobs.schemas import JobRequest
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState

_UPLOAD = "upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"

# Each is valid once its upload exists.
EXAMPLES: dict[str, Example] = {
    "three strings": {
        "summary": "Teacher, student and dataset; all other fields have defaults",
        "value": {"teacher": _UPLOAD, "student": "resnet18", "dataset": "file:///data/pets"},
    },
    "method and training": {
        "summary": "WTTM with a custom temperature, and custom training options",
        "value": {
            "name": "pets, smaller",
            "teacher": {"checkpoint": _UPLOAD, "architecture": "resnet50", "num_classes": 37},
            "student": {"architecture": "resnet18", "image_size": 160},
            "dataset": {"uri": "file:///data/pets", "validation": {"share": 0.1}},
            "method": {"kind": "wttm", "beta": 2.0, "temperature": 5.0},
            "training": {"epochs": 20, "batch_size": 64, "seed": 1},
        },
    },
    "labels alone": {
        "summary": "Training on labels only (cross-entropy), without a teacher",
        "value": {"student": "resnet18", "dataset": "file:///data/pets", "method": "ce"},
    },
}

JobBody = Annotated[JobRequest, Body(openapi_examples=EXAMPLES)]


async def _filters(
    state: Annotated[
        list[JobState], Query(description="Only jobs in this state. May be repeated: jobs may have any of the states.")
    ] = [],  # noqa: B006
    tag: Annotated[
        list[Annotated[str, NoControls]],
        Query(max_length=10, description="Only jobs with this tag. May be repeated: jobs must have all tags."),
    ] = [],  # noqa: B006
    name: Annotated[
        str | None,
        Query(max_length=200, description="Only jobs whose name contains this text, in any case."),
        NoControls,
    ] = None,
    teacher: Annotated[
        str | None,
        Query(
            max_length=2048, description="Only jobs with this teacher: the URI of its checkpoint, or `teacher:NAME`."
        ),
        NoControls,
    ] = None,
    dataset: Annotated[
        str | None,
        Query(max_length=2048, description="Only jobs with this dataset: its URI, or `dataset:NAME`."),
        NoControls,
    ] = None,
    owner: Annotated[
        str | None, Query(max_length=100, description="Only jobs submitted with a key of this name."), NoControls
    ] = None,
    study: Annotated[
        str | None,
        Query(
            max_length=36, description="Only jobs of the study with this id. `none`: only jobs that belong to no study."
        ),
        NoControls,
    ] = None,
    created_after: Annotated[
        UtcDatetime | None, Query(description="Only jobs created after this time (with a time zone).")
    ] = None,
    created_before: Annotated[
        UtcDatetime | None, Query(description="Only jobs created before this time (with a time zone).")
    ] = None,
) -> JobFilters:
    # A repeated state would return its jobs twice.
    states = list(dict.fromkeys(state))
    return JobFilters(states, tag, name, teacher, dataset, owner, created_after, created_before, study)


FiltersDep = Annotated[JobFilters, Depends(_filters)]


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


def etag(job_id: str, version: int) -> str:
    """The ETag of a job. It is weak, because a heartbeat alone does not change it. It has the id, because a name can
    move to another job.
    """
    return f'W/"{job_id}.{version}"'


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
    if matches(if_none_match, etag(job_id, version)):
        await services.changes.wait(job_id, version, seconds, request)
    return Poll(job_id, engine, services, if_none_match, seconds)


def _find(engine: Engine, reference: str) -> str:
    with read_scope(engine) as session:
        return crud.find(session, reference).id


PollDep = Annotated[Poll, Depends(_poll)]
