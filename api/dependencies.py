"""Dependencies of endpoints. The services are created once at startup and shared by all requests of a process."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from api.auth.callers import Caller, Callers
from api.auth.oidc.sign_on import SignOn
from api.auth.throttle import SignInThrottle
from api.http.types import without_controls
from api.live.changes import JobChanges
from api.live.feed import Feeds
from api.live.rendered import RenderedJobs
from api.receiving.finalizer import Finalizer
from api.receiving.inspection import Inspector
from api.receiving.prediction import Predictor
from api.receiving.running import RunningDigests
from api.receiving.slots import UploadSlots
from ttm_jobs.database.audit import Author, audited
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.errors import Forbidden
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Services:
    """The services that all requests of a process share."""

    settings: Settings
    engine: Engine
    storage: Storage
    feeds: Feeds
    study_feeds: Feeds
    project_feeds: Feeds
    changes: JobChanges
    callers: Callers
    throttle: SignInThrottle
    sign_on: SignOn | None
    rendered: RenderedJobs
    registry: CollectorRegistry
    # Separate from the thread pool of requests, so that slow uploads or a hung database do not block it.
    upload_slots: UploadSlots
    health_threads: CapacityLimiter
    digests: RunningDigests
    finalizer: Finalizer
    inspector: Inspector
    predictor: Predictor


# Coroutines, because FastAPI would run plain functions in a thread. Each depends on the request only, because FastAPI
# resolves nested dependencies anew for every request.
async def get_services(request: Request) -> Services:
    """The services of the app that handles this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def get_engine(request: Request) -> Engine:
    """The database, restricted to the caller's project. Changes are recorded in the audit log."""
    caller = await _caller(request)
    engine = bound_to((await get_services(request)).engine, caller.project_id)
    return engine if request.method in _READ_METHODS else audited(engine, _author(request, caller))


def _author(request: Request, caller: Caller) -> Author:
    parameters = without_controls("/".join(str(value) for value in request.path_params.values()))
    return Author(
        action=request.scope["route"].operation_id,
        object=parameters or None,
        request_id=request.state.request_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        actor=caller.name,
        address=None if request.client is None else request.client.host,
    )


async def _settings(request: Request) -> Settings:
    return (await get_services(request)).settings


async def _caller(request: Request) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


async def _admin(request: Request) -> Caller:
    caller = await _caller(request)
    if not caller.scope.includes(Scope.ADMIN):
        raise Forbidden(f"This request requires scope {Scope.ADMIN}; yours is {caller.scope}.")
    return caller


async def _storage(request: Request) -> Storage:
    return (await get_services(request)).storage


async def _feeds(request: Request) -> Feeds:
    return (await get_services(request)).feeds


async def _study_feeds(request: Request) -> Feeds:
    return (await get_services(request)).study_feeds


async def _project_feeds(request: Request) -> Feeds:
    return (await get_services(request)).project_feeds


ServicesDep = Annotated[Services, Depends(get_services)]
SettingsDep = Annotated[Settings, Depends(_settings)]
# The database, restricted to the rows of the caller's project.
EngineDep = Annotated[Engine, Depends(get_engine)]
CallerDep = Annotated[Caller, Depends(_caller)]
AdminDep = Annotated[Caller, Depends(_admin)]
StorageDep = Annotated[Storage, Depends(_storage)]
FeedsDep = Annotated[Feeds, Depends(_feeds)]
StudyFeedsDep = Annotated[Feeds, Depends(_study_feeds)]
ProjectFeedsDep = Annotated[Feeds, Depends(_project_feeds)]
