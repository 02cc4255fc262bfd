"""Routes for those who watch over the service."""

from fastapi import APIRouter, Response

from api.dependencies import ServicesDep
from api.health import service
from api.health.schemas import Liveness, Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health_live", summary="Is the process alive?")
async def healthz() -> Liveness:
    """Answers without looking at anything else."""
    return Liveness()


@router.get(
    "/readyz",
    operation_id="health_ready",
    summary="Can the service work?",
    responses={503: {"model": Readiness, "description": "The database or the storage is away."}},
)
async def readyz(response: Response, services: ServicesDep) -> Readiness:
    """Looks at database, storage, broker, dispatcher and workers for at most a second. 503 only if the database or the
    storage is away: without a broker or a worker jobs are accepted and wait."""
    ready = await service.readiness(services.engine, services.storage, services.settings, services.health_threads)
    response.status_code = 503 if ready.status == "unavailable" else 200
    return ready
