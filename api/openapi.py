"""The OpenAPI document: what FastAPI derives, with every refusal as the problem that it is.

`python -m api.openapi` prints it; the committed copy is docs/reference/openapi.json.
"""

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.problems import MEDIA_TYPE
from ttm_jobs.errors import FetchStopped, LeaseLost, ServiceError, SourceRefused, SourceUnreachable

_DESCRIPTION = """Turns a large image classifier (the teacher) into a small one (the student) by weighted transformed
teacher matching.

Post a job with three strings, follow it live, download the student. Every refusal is a problem (RFC 9457) with a
stable `code`. Lists are paged by `cursor`. Every answer carries `X-Request-ID`.

A key goes into `Authorization: Bearer KEY`; a service on loopback that has no keys needs none. A key belongs to a
project and sees nothing else: what another project has is not found. GET needs the scope read, anything else submit,
and the keys themselves admin."""

_TAGS = [
    {"name": "jobs", "description": "Submit, follow and end distillation jobs."},
    {"name": "artifacts", "description": "What jobs make: the student, its report, the log."},
    {"name": "uploads", "description": "Files a job needs that the service cannot reach by itself."},
    {"name": "teachers", "description": "Teachers under names, in versions that never change."},
    {"name": "datasets", "description": "Datasets under names, in versions that never change."},
    {"name": "operations", "description": "Workers, queue, and what the project uses."},
    {"name": "keys", "description": "Who may ask."},
    {"name": "webhooks", "description": "Who is told when a job changes."},
    {"name": "architectures", "description": "The models the service can make."},
    {"name": "recipes", "description": "Published runs that a job may start from."},
    {"name": "health", "description": "For those who watch over the service."},
]
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `ttm keys create` or POST /keys shows it."}
}
_VERSION = "0.1.0"
# A job's failure may have their codes; no request is answered with them.
_WORKERS_OWN = (LeaseLost, FetchStopped, SourceRefused, SourceUnreachable)
# What any operation may answer besides its own refusals.
_ANY_OTHER = (
    "Any other refusal: `unauthorized` (401), `forbidden` (403: the key's scope), `cross_origin` (403), `rate_limited` "
    "(429, with Retry-After), `host_not_allowed` (421), `too_large` (413), `malformed_body` (400), "
    "`method_not_allowed` (405), `database_unavailable` (503, with Retry-After), `storage_unreachable` (503), "
    "`object_not_found` (404: the storage lost a file), `internal_error` (500)."
)


def describe(app: FastAPI) -> None:
    """Have the app serve this document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def error_codes() -> dict[str, type[ServiceError]]:
    """Every error that the API can answer with, by its code, in alphabetical order."""
    named = [error for error in _tree(ServiceError) if "code" in vars(error)]
    return {error.code: error for error in sorted(named, key=lambda error: error.code)}


def _tree(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for child in error.__subclasses__():
        yield from _tree(child)


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="TTM", version=_VERSION, description=_DESCRIPTION, routes=app.routes, tags=_TAGS, openapi_version="3.1.0"
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            _use_problems(operation)
    document["components"]["securitySchemes"] = _SECURITY
    document["security"] = [{"bearer": []}]
    for open_path in ("/healthz", "/readyz"):
        document["paths"][open_path]["get"]["security"] = []
    _name_codes(document)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _name_codes(document: dict[str, Any]) -> None:
    """All codes, in a form that tells a generated client of them without binding it to this list."""
    code = document["components"]["schemas"]["Problem"]["properties"]["code"]
    code["x-extensible-enum"] = [name for name, error in error_codes().items() if _is_answered(error)]


def _is_answered(error: type[ServiceError]) -> bool:
    own = error.__module__.startswith("api.") or error.__module__ == ServiceError.__module__
    return own and error not in _WORKERS_OWN


def _use_problems(operation: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/Problem"}
    for response in operation["responses"].values():
        # FastAPI describes a refusal under the media type of the success.
        for content in list(response.get("content", {}).values()):
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name == "HTTPValidationError":
                response["description"] = "`invalid_request`: The request does not have the form of the schema."
            if name in ("HTTPValidationError", "Problem"):
                response["content"] = {MEDIA_TYPE: {"schema": reference}}
    operation["responses"]["default"] = {
        "description": _ANY_OTHER,
        "content": {MEDIA_TYPE: {"schema": reference}},
    }


def main() -> None:
    """Print the document of the application."""
    # Imported here: the application imports this module.
    from api.main import app

    print(json.dumps(app.openapi(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
