"""The Prometheus endpoint."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from api.dependencies import AdminDep, ServicesDep
from ttm_jobs.errors import Forbidden
from ttm_jobs.models import DEFAULT_PROJECT

router = APIRouter()


# Not in the OpenAPI document, because it returns Prometheus's text format.
@router.get("/metrics", include_in_schema=False)
def metrics(services: ServicesDep, caller: AdminDep) -> Response:
    """Metrics of the whole service. Requires `TTM_METRICS_TOKEN` or an admin key of the default project."""
    if caller.project_id != DEFAULT_PROJECT:
        raise Forbidden("Metrics of all projects require an admin key of the default project, or TTM_METRICS_TOKEN.")
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
