"""The application factory: middleware and the services that requests share.

Serve it with `python -m api` or `uvicorn --factory api.app:create_app`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.middleware import Middleware
from starlette.types import Scope

from api.auth.callers import Callers
from api.auth.credentials.reading import IdentityHeaders
from api.auth.middleware import AllowedHostsMiddleware, AuthMiddleware
from api.auth.oidc.sign_on import SignOn
from api.auth.proxies import ForwardedMiddleware
from api.auth.throttle import SignInThrottle
from api.dashboard.endpoints import static_files
from api.dashboard.pages import error_page
from api.dependencies import Services
from api.http import errors
from api.http.headers.compression import CompressionMiddleware
from api.live import sources
from api.live.changes import JobChanges
from api.live.feed import Feeds
from api.live.rendered import RenderedJobs
from api.metrics.database import DatabaseCollector
from api.metrics.requests import MetricsMiddleware, RequestMetrics
from api.middleware import BodyLimitMiddleware, RequestContextMiddleware, SameOriginMiddleware
from api.openapi_document import describe
from api.predictions.endpoints import is_prediction_path
from api.receiving.finalizer import Finalizer
from api.receiving.inspection import Inspector
from api.receiving.prediction import Predictor
from api.receiving.running import RunningDigests
from api.receiving.slots import UploadSlots
from api.routes import routes
from api.server.bodies import SlowBodyMiddleware
from api.server.framing import FramingMiddleware
from api.server.head import HeadMiddleware
from api.sign_in.endpoints import cookies_of
from api.uploads.tus import TusMiddleware, is_upload_path
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings, get_settings
from ttm_jobs.storage import build_storage
from ttm_jobs.telemetry import logs, traces

_CONCURRENT_UPLOADS = 32


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the application. It opens no connection before its lifespan starts."""
    settings = settings or get_settings()
    logs.configure()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(
            settings.database_url, settings.secret_key_file, settings.project_limits(settings.storage_url)
        )
        feeds, study_feeds = Feeds(engine, sources.JOBS), Feeds(engine, sources.STUDIES)
        project_feeds = Feeds(engine, sources.PROJECTS)
        changes = JobChanges(engine)
        collector = DatabaseCollector(engine, settings)
        registry.register(collector)
        storage = build_storage(settings.storage_url, settings.s3)
        finalizer = Finalizer(engine, storage)
        app.state.services = Services(
            settings=settings,
            engine=engine,
            storage=storage,
            feeds=feeds,
            study_feeds=study_feeds,
            project_feeds=project_feeds,
            changes=changes,
            callers=Callers(settings, engine),
            throttle=SignInThrottle(engine, settings.failed_sign_ins_per_minute),
            sign_on=None if settings.oidc_issuer is None else SignOn(settings, engine),
            rendered=RenderedJobs(),
            registry=registry,
            upload_slots=UploadSlots(_CONCURRENT_UPLOADS),
            health_threads=CapacityLimiter(16),
            digests=RunningDigests(),
            finalizer=finalizer,
            inspector=Inspector(storage),
            predictor=Predictor(storage),
        )
        async with (
            feeds.running(),
            study_feeds.running(),
            project_feeds.running(),
            changes.running(),
            finalizer.running(),
        ):
            yield
        registry.unregister(collector)
        engine.dispose()
        traces.shut_down()

    identity = None if settings.proxy_identity is None else IdentityHeaders(settings.proxy_identity)
    app = FastAPI(
        title="TTM",
        lifespan=lifespan,
        # FastAPI's documentation pages load scripts from a CDN. /docs is rendered by the dashboard instead.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=routes(sign_in=settings.oidc_issuer is not None, traced=settings.traces_endpoint is not None),
        middleware=[
            Middleware(MetricsMiddleware, metrics=RequestMetrics(registry)),
            Middleware(RequestContextMiddleware, error_page=error_page),
            *_tracing(settings),
            Middleware(FramingMiddleware),
            Middleware(ForwardedMiddleware, trusted=settings.trusted_proxies),
            Middleware(AllowedHostsMiddleware, settings=settings, error_page=error_page),
            Middleware(SameOriginMiddleware, identity=identity),
            Middleware(TusMiddleware),
            Middleware(
                AuthMiddleware,
                requests_per_second=settings.requests_per_second,
                metrics_token=settings.metrics_token,
                cookies=None if settings.oidc_issuer is None else cookies_of(settings),
                identity=identity,
                error_page=error_page,
            ),
            Middleware(SlowBodyMiddleware, seconds=settings.body_timeout_seconds),
            Middleware(BodyLimitMiddleware, limit=partial(_body_limit, settings)),
            Middleware(HeadMiddleware),
            Middleware(CompressionMiddleware),
        ],
    )
    errors.register(app)
    app.mount("/static", static_files(), name="static")
    describe(app)
    return app


def _body_limit(settings: Settings, scope: Scope) -> int | None:
    # Uploads have their own limit, which is enforced while they stream to storage.
    if scope["method"] in ("POST", "PUT", "PATCH") and is_upload_path(scope["path"]):
        return None
    return settings.max_image_bytes if is_prediction_path(scope["path"]) else settings.max_body_bytes


def _tracing(settings: Settings) -> list[Middleware]:
    """OpenTelemetry's ASGI middleware, if a collector is configured."""
    if settings.traces_endpoint is None:
        return []
    traces.set_up(settings.traces_endpoint, "ttm-api")
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.util.http import ExcludeList

    return [
        Middleware(
            OpenTelemetryMiddleware,
            excluded_urls=ExcludeList(["/healthz", "/readyz", "/metrics", "/static/"]),
            default_span_details=lambda scope: (scope["method"], {}),
            # Without this, a streamed response has a span for each chunk.
            exclude_spans=["receive", "send"],
            server_request_hook=_describe_span,
            tracer_provider=traces.tracer_provider(),
        )
    ]


def _describe_span(span: Any, scope: Scope) -> None:
    # The query of a download link contains its signature, so only the path is exported.
    url = scope["path"]
    span.set_attributes({"http.url": url, "http.target": url, "ttm.request_id": scope["state"]["request_id"]})
