"""The OpenAPI document: FastAPI's, with every error response described as a problem document, and adjusted so that
linters and client generators accept it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.headers.versions import API_VERSION
from api.http.problems import MEDIA_TYPE, error_codes
from ttm_jobs.errors import FetchStopped, LeaseLost, ServiceError, SourceRefused, SourceUnreachable, Unauthorized

_DESCRIPTION = """Compresses image classifiers: trains a small model (the student) with the outputs of a large one (the
teacher), by weighted transformed teacher matching and other distillation methods.

Submit a job with three strings, follow it live, and download the student. Errors are problem documents (RFC 9457) with
a stable `code`. Lists are paginated by `cursor`. Every response has an `X-Request-ID` and the
version of the API in `TTM-Version`. Deprecated operations send `Deprecation` and `Sunset`.

Authenticate with `Authorization: Bearer KEY`. A service on a loopback address without any keys accepts requests
without one. A key belongs to a project and gives access to that project only: objects of other projects are not found.
GET requires scope `read`, other methods require `submit`. Keys, changes of webhooks, sources of projects and the audit
log require `admin`. A key with scope `measure` can only download ONNX artifacts, claim measuring work and post
measurements."""

_TAGS = [
    {"name": "jobs", "description": "Submit, monitor and control distillation jobs."},
    {"name": "studies", "description": "Find the student that meets limits on accuracy, size and latency."},
    {"name": "events", "description": "The events of all jobs and studies of the project, live."},
    {"name": "artifacts", "description": "Outputs of jobs: the student, its report, the log."},
    {"name": "measurements", "description": "Latency and memory of a job's ONNX artifacts, and the file to ship."},
    {"name": "devices", "description": "Machines that measure ONNX artifacts, and their measuring work."},
    {"name": "uploads", "description": "Checkpoints and data archives that jobs refer to as `upload:ID`."},
    {
        "name": "teachers",
        "description": "Named teachers with immutable versions. A job refers to one as `teacher:NAME`.",
    },
    {
        "name": "datasets",
        "description": "Named datasets with immutable versions. A job refers to one as `dataset:NAME`.",
    },
    {"name": "operations", "description": "Workers, queues, teacher stores, and the usage of the project."},
    {"name": "keys", "description": "API keys and their scopes."},
    {"name": "projects", "description": "The folders, hosts and buckets that the jobs of a project may read."},
    {"name": "audit", "description": "Who changed what."},
    {"name": "webhooks", "description": "HTTP callbacks for changes of jobs and studies."},
    {"name": "views", "description": "Saved views of the lists on the dashboard."},
    {"name": "architectures", "description": "The model architectures that the service can train."},
    {"name": "recipes", "description": "Published experiments to start a job from."},
    {"name": "health", "description": "Liveness and readiness checks."},
]
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, created with `ttm keys create` or POST /keys.",
    }
}
# These occur in workers only: they are codes of job failures, not of responses.
_WORKER_ERRORS = (LeaseLost, FetchStopped, SourceRefused, SourceUnreachable)
# Errors that any operation may return in addition to its own.
_COMMON_ERRORS = (
    "Any other error: `unauthorized` (401), `forbidden` (403: the key's scope is insufficient), `cross_origin` "
    "(403), `rate_limited` "
    "(429, with Retry-After), `host_not_allowed` (421), `too_large` (413), `malformed_body` (400), "
    "`ambiguous_length` (400), `request_timeout` (408), `invalid_value` (422: text with NUL or an integer of more than "
    "64 bits), "
    "`method_not_allowed` (405), `database_unavailable` (503, with Retry-After), `storage_unreachable` (503), "
    "`object_not_found` (404: a stored file is missing), `internal_error` (500)."
)


def describe(app: FastAPI) -> None:
    """Makes the app serve this document at /openapi.json."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="TTM",
        version=API_VERSION,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        openapi_version="3.1.0",
        contact={"name": "TTM maintainers"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # The service that serves the document.
        servers=[{"url": "/"}],
    )
    for open_path in ("/healthz", "/readyz"):
        document["paths"][open_path]["get"]["security"] = []
    for operations in document["paths"].values():
        for operation in operations.values():
            _describe_errors(operation)
    document["components"]["securitySchemes"] = _SECURITY
    document["security"] = [{"bearer": []}]
    for node in _objects(document):
        for alternative in node.get("oneOf", ()):
            _require_kind(alternative, document["components"]["schemas"])
        if "prefixItems" in node:
            _simplify_tuple(node)
    _add_error_codes(document)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """All JSON objects within a node, itself included."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(child)


def _require_kind(alternative: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Marks the constant property by which a union selects this schema as required, as it is within the union."""
    schema = schemas.get(alternative.get("$ref", "").rpartition("/")[2], {})
    for name, field in schema.get("properties", {}).items():
        if "const" in field and name not in schema.setdefault("required", []):
            schema["required"].insert(0, name)


def _simplify_tuple(schema: dict[str, Any]) -> None:
    """Describes a tuple of equal items as a list of fixed length, which every generator supports."""
    first, *others = schema["prefixItems"]
    if all(other == first for other in others):
        schema["items"] = first
        del schema["prefixItems"]


def _add_error_codes(document: dict[str, Any]) -> None:
    """Lists all error codes as an extensible enum, so that generated clients accept codes that are added later."""
    code = document["components"]["schemas"]["Problem"]["properties"]["code"]
    code["x-extensible-enum"] = [name for name, error in error_codes().items() if _is_response_error(error)]


def _is_response_error(error: type[ServiceError]) -> bool:
    defined_here = error.__module__.startswith("api.") or error.__module__ == ServiceError.__module__
    return defined_here and error not in _WORKER_ERRORS


def _describe_errors(operation: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/Problem"}
    for response in operation["responses"].values():
        # FastAPI lists error responses under the media type of the success response.
        for content in list(response.get("content", {}).values()):
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name == "HTTPValidationError":
                response["description"] = "`invalid_request`: The request does not match the schema."
            if name in ("HTTPValidationError", "Problem"):
                response["content"] = {MEDIA_TYPE: {"schema": reference}}
    if not any(status.startswith("4") for status in operation["responses"]) and operation.get("security") != []:
        operation["responses"]["401"] = {
            "description": f"`{Unauthorized.code}`: {Unauthorized.__doc__}",
            "content": {MEDIA_TYPE: {"schema": reference}},
        }
    operation["responses"]["default"] = {
        "description": _COMMON_ERRORS,
        "content": {MEDIA_TYPE: {"schema": reference}},
    }
