"""The route that Prometheus reads."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from api.dependencies import AdminDep, ServicesDep
from ttm_jobs.errors import Forbidden
from ttm_jobs.models import DEFAULT_PROJECT

router = APIRouter()


# Not in the OpenAPI document: it is Prometheus's language, and of no use to a client.
@router.get("/metrics", include_in_schema=False)
def metrics(services: ServicesDep, caller: AdminDep) -> Response:
    """Numbers of the whole service: for `TTM_METRICS_TOKEN`, or an admin of the default project."""
    if caller.project_id != DEFAULT_PROJECT:
        raise Forbidden("Only an admin of the default project sees what all projects do together.")
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
