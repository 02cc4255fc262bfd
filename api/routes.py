"""The routes of the API, in the order in which they are matched."""

from functools import cache

from fastapi import APIRouter, Depends, Request
from starlette.routing import BaseRoute

from api.architectures.endpoints import router as architectures
from api.artifacts.endpoints import router as artifacts
from api.audit.endpoints import router as audit
from api.comparisons.endpoints import router as comparisons
from api.damage.endpoints import router as damage
from api.dashboard.endpoints import router as dashboard
from api.devices.endpoints import router as devices
from api.events.endpoints import router as project_events
from api.health.endpoints import router as health
from api.job_events.endpoints import router as job_events
from api.jobs.bulk.endpoints import router as bulk
from api.jobs.endpoints import router as jobs
from api.keys.endpoints import router as keys
from api.measurements.endpoints import router as measurements
from api.metrics.endpoints import router as metrics
from api.operations.endpoints import router as operations
from api.predictions.endpoints import router as predictions
from api.projects.endpoints import router as projects
from api.queue.endpoints import router as queue
from api.recipes.endpoints import router as recipes
from api.registry.endpoints import datasets, teachers
from api.saved_views.endpoints import router as views
from api.sign_in.endpoints import pages as sign_in_pages
from api.sign_in.endpoints import router as single_sign_on
from api.sign_in.endpoints import without_sign_on
from api.studies.endpoints import router as studies
from api.studies.events import router as study_events
from api.uploads.endpoints import router as uploads
from api.webhooks.endpoints import router as webhooks


@cache
def routes(*, sign_in: bool, traced: bool) -> list[BaseRoute]:
    """All routes, with those of single sign-on if `sign_in`. Requests of `traced` routes name their spans.

    All applications of a process share them: FastAPI prepares each route on the first request, which takes 0.1 s.
    """
    router = APIRouter(dependencies=[Depends(_name_span)] if traced else [])
    for part in (
        # Before the jobs: their paths with an id match these, too.
        bulk,
        jobs,
        job_events,
        project_events,
        studies,
        study_events,
        artifacts,
        damage,
        comparisons,
        predictions,
        measurements,
        devices,
        uploads,
        teachers,
        datasets,
        architectures,
        recipes,
        operations,
        queue,
        keys,
        projects,
        audit,
        webhooks,
        views,
        health,
        metrics,
        dashboard,
    ):
        router.include_router(part)
    if sign_in:
        router.include_router(single_sign_on)
        router.include_router(sign_in_pages)
    else:
        router.include_router(without_sign_on)
    return router.routes


async def _name_span(request: Request) -> None:
    """Names the request's span after its route, such as `GET /jobs/{job_id}`."""
    from opentelemetry.trace import get_current_span

    route = request.scope["route"].path
    span = get_current_span()
    span.update_name(f"{request.method} {route}")
    span.set_attribute("http.route", route)
