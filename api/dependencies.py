"""What endpoints are given. All of it is made once, at start, and shared by the requests of a process."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from api.auth.callers import Caller, Callers
from api.jobs.live.changes import Changes
from api.jobs.live.feed import Feeds
from api.jobs.live.rendered import RenderedJobs
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.errors import Forbidden
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Services:
    """The parts that a process's requests share."""

    settings: Settings
    engine: Engine
    storage: Storage
    feeds: Feeds
    changes: Changes
    callers: Callers
    rendered: RenderedJobs
    registry: CollectorRegistry
    # Apart from the threads that answer requests, so that slow uploads or a hung database leave those free.
    upload_threads: CapacityLimiter
    health_threads: CapacityLimiter


# Asynchronous though they wait for nothing: FastAPI would run a plain function in a thread. And each asks for the
# request alone, since FastAPI works out anew for every request what depends on what.
async def get_services(request: Request) -> Services:
    """The services of the app that answers this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def get_engine(request: Request) -> Engine:
    """The database as the caller may see it."""
    return bound_to((await get_services(request)).engine, (await _caller(request)).project_id)


async def _settings(request: Request) -> Settings:
    return (await get_services(request)).settings


async def _caller(request: Request) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


async def _admin(request: Request) -> Caller:
    caller = await _caller(request)
    if not caller.scope.includes(Scope.ADMIN):
        raise Forbidden(f"This needs a key of scope {Scope.ADMIN}; the key's is {caller.scope}.")
    return caller


async def _storage(request: Request) -> Storage:
    return (await get_services(request)).storage


async def _feeds(request: Request) -> Feeds:
    return (await get_services(request)).feeds


ServicesDep = Annotated[Services, Depends(get_services)]
SettingsDep = Annotated[Settings, Depends(_settings)]
# The database as the caller may see it: its project's rows alone.
EngineDep = Annotated[Engine, Depends(get_engine)]
CallerDep = Annotated[Caller, Depends(_caller)]
AdminDep = Annotated[Caller, Depends(_admin)]
StorageDep = Annotated[Storage, Depends(_storage)]
FeedsDep = Annotated[Feeds, Depends(_feeds)]
