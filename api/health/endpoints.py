"""Liveness and readiness checks."""

from fastapi import APIRouter, Response

from api.dependencies import ServicesDep
from api.health import service
from api.health.schemas import Liveness, Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health_live", summary="Check liveness")
async def healthz() -> Liveness:
    """Returns 200 if the process responds. Checks no dependencies."""
    return Liveness()


@router.get(
    "/readyz",
    operation_id="health_ready",
    summary="Check readiness",
    responses={503: {"model": Readiness, "description": "The database or the storage is unavailable."}},
)
async def readyz(response: Response, services: ServicesDep) -> Readiness:
    """Checks database, storage, broker, dispatcher and workers within one second. Returns 503 only if the database or
    the storage is unavailable or its disk is full: without a broker or a worker, jobs are accepted and stay queued.
    """
    ready = await service.readiness(services.engine, services.storage, services.settings, services.health_threads)
    response.status_code = 503 if ready.status == "unavailable" else 200
    return ready
