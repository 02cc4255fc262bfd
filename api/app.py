"""The composition root: what the process is made of, and in which order a request passes through it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.middleware import Middleware
from starlette.types import Scope

from api.architectures.endpoints import router as architectures
from api.artifacts.endpoints import router as artifacts
from api.auth.callers import Callers
from api.auth.middleware import AllowedHosts, Gate
from api.dashboard.endpoints import router as dashboard
from api.dashboard.endpoints import static_files
from api.dependencies import Services
from api.health.endpoints import router as health
from api.http import errors
from api.http.middleware import BodyLimit, RequestContext, SameOrigin
from api.http.tracing import Traced
from api.jobs.endpoints import router as jobs
from api.jobs.live.changes import Changes
from api.jobs.live.feed import Feeds
from api.jobs.live.rendered import RenderedJobs
from api.keys.endpoints import router as keys
from api.metrics.endpoints import router as metrics
from api.metrics.record import RecordCollector
from api.metrics.requests import Metered, RequestMetrics
from api.openapi import describe
from api.operations.endpoints import router as operations
from api.queue.endpoints import router as queue
from api.recipes.endpoints import router as recipes
from api.registry.endpoints import datasets, teachers
from api.uploads.endpoints import router as uploads
from api.uploads.tus import Tus, is_upload
from api.webhooks.endpoints import router as webhooks
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings, get_settings
from ttm_jobs.storage import build_storage
from ttm_jobs.telemetry import logs, traces

_UPLOADS_AT_ONCE = 32


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. It connects to nothing before its lifespan begins."""
    settings = settings or get_settings()
    logs.configure()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        traces.set_up(settings.traces_endpoint, "ttm-api")
        engine = create_engine(settings.database_url)
        feeds = Feeds(engine)
        changes = Changes(engine)
        record = RecordCollector(engine, settings)
        registry.register(record)
        app.state.services = Services(
            settings=settings,
            engine=engine,
            storage=build_storage(settings.storage_url, settings.s3),
            feeds=feeds,
            changes=changes,
            callers=Callers(settings, engine),
            rendered=RenderedJobs(),
            registry=registry,
            upload_threads=CapacityLimiter(_UPLOADS_AT_ONCE),
            health_threads=CapacityLimiter(16),
        )
        async with feeds.running(), changes.running():
            yield
        registry.unregister(record)
        engine.dispose()
        traces.shut_down()

    app = FastAPI(
        title="TTM",
        lifespan=lifespan,
        # The documentation pages of the framework fetch their scripts from another host; ours is at the same address.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Metered, metrics=RequestMetrics(registry)),
            Middleware(RequestContext),
            Middleware(Traced),
            Middleware(AllowedHosts, settings=settings),
            Middleware(SameOrigin),
            Middleware(Tus),
            Middleware(Gate, requests_per_second=settings.requests_per_second, metrics_token=settings.metrics_token),
            Middleware(BodyLimit, limit=settings.max_body_bytes, exempt=_is_upload),
        ],
    )
    errors.register(app)
    for router in (
        jobs,
        artifacts,
        uploads,
        teachers,
        datasets,
        architectures,
        recipes,
        operations,
        queue,
        keys,
        webhooks,
        health,
        metrics,
        dashboard,
    ):
        app.include_router(router)
    app.mount("/static", static_files(), name="static")
    describe(app)
    return app


def _is_upload(scope: Scope) -> bool:
    # Uploads are bounded by a limit of their own, while they are received.
    return scope["method"] in ("POST", "PATCH") and is_upload(scope["path"])
