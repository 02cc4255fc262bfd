"""The template environment. Every value is escaped; nothing in a template disables escaping."""

import json
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from api.auth.callers import Caller, current_caller
from api.dashboard import formats
from api.http.errors import DATABASE_RETRY, database_unavailable
from api.http.field_errors import field_error
from api.http.problems import MAX_FIELDS, FieldErrors
from api.words import listed
from ttm_jobs import models
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE
from ttm_jobs.errors import Forbidden, Invalid, NotFound, ServiceError

# The entries of the navigation, and under each the pages that belong to it: name, path and title.
NAVIGATION = (
    ("Studies", (("studies", "/ui/studies", "Studies"), ("new study", "/ui/new-study", "New study"))),
    ("Jobs", (("jobs", "/ui/jobs", "Jobs"), ("new", "/ui/new", "New job"))),
    (
        "Models",
        (
            ("teachers", "/ui/teachers", "Teachers"),
            ("datasets", "/ui/datasets", "Datasets"),
            ("uploads", "/ui/uploads", "Uploads"),
            ("architectures", "/ui/architectures", "Architectures"),
            ("recipes", "/ui/recipes", "Recipes"),
        ),
    ),
    (
        "Fleet",
        (
            ("workers", "/ui/workers", "Workers"),
            ("queue", "/ui/queue", "Queue"),
            ("devices", "/ui/devices", "Devices"),
            ("stores", "/ui/stores", "Teacher stores"),
        ),
    ),
    (
        "Settings",
        (
            ("keys", "/ui/keys", "API keys"),
            ("webhooks", "/ui/webhooks", "Webhooks"),
            ("audit", "/ui/audit", "Audit log"),
            ("docs", "/docs", "API"),
        ),
    ),
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "against_teacher": formats.against_teacher,
    "ago": formats.ago,
    "basename": formats.basename,
    "compression_text": formats.compression_text,
    "count": formats.count,
    "duration": formats.duration,
    "excerpt": formats.excerpt,
    "humanize": formats.humanize,
    "milliseconds": formats.milliseconds,
    "listed": listed,
    "percent": formats.percent,
    "points": formats.points,
    "precision": formats.precision_name,
    "pretty_json": formats.pretty_json,
    "prose": formats.prose,
    "shell": formats.shell,
    "short": formats.short,
    "size": formats.size,
    "thousands": formats.thousands,
    "timestamp": formats.timestamp,
}


# Pages that only submit.
_SUBMITTING = ("new", "new study")


@cache
def _navigation(*, may_submit: bool) -> dict[str, Any]:
    """What every page's header needs: `navigation`, and `destinations`, the pages that the command palette finds."""
    shown = [
        (section, [each for each in pages if may_submit or each[0] not in _SUBMITTING]) for section, pages in NAVIGATION
    ]
    found = [{"href": path, "text": title, "note": section} for section, pages in shown for _, path, title in pages]
    return {"navigation": shown, "destinations": json.dumps(found)}


def may_submit(caller: Caller | None) -> bool:
    """Whether a caller may submit and change anything. Pages offer no such actions to others."""
    return caller is None or caller.scope.includes(models.Scope.SUBMIT)


def require_submit(caller: Caller, what: str) -> None:
    """Raises Forbidden if the caller may not submit a job or a study."""
    if not may_submit(caller):
        raise Forbidden(f"Submitting a {what} requires the scope `submit`; yours is `{caller.scope}`.")


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered page. Pages show the current state, so they must not be cached."""
    caller = current_caller.get()
    may = may_submit(caller)
    header = {"caller": caller, "may_submit": may, **_navigation(may_submit=may)}
    html = _environment.get_template(template).render({**header, **values})
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


_TITLES = {
    401: "Sign-in required",
    403: "No access",
    421: "Unknown host name",
    429: "Try again later",
    500: "Something went wrong",
    503: "The service is not available",
}


def error_page(scope: Scope, error: ServiceError, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """The page for an error, with a link that reloads it. It reads nothing from the database."""
    title = _TITLES.get(error.status) or HTTPStatus(error.status).phrase
    asks_for_password = "Basic" in (headers or {}).get("WWW-Authenticate", "")
    response = page(
        "error.html",
        error.status,
        title=title,
        error=error,
        request_id=scope["state"].get("request_id"),
        asks_for_password=asks_for_password,
    )
    response.headers.update(headers or {})
    return response


class PageRoute(APIRoute):
    """The route of a page. Errors are answered with a page instead of a problem document: what does not exist, an
    address with invalid parameters, and an unavailable database.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except NotFound as error:
                return page("not_found.html", 404, message=error.message, path=request.url.path)
            except RequestValidationError as error:
                faults = [field_error(fault, None, None) for fault in error.errors()[:MAX_FIELDS]]
                return page("invalid.html", 422, faults=faults, path=request.url.path)
            except FieldErrors as error:
                return page("invalid.html", error.first.status, message=error.message, path=request.url.path)
            except Invalid as error:
                return page("invalid.html", error.status, message=error.message, path=request.url.path)
            except ServiceError as error:
                return error_page(request.scope, error)
            except DATABASE_UNAVAILABLE as error:
                return error_page(request.scope, database_unavailable(error), DATABASE_RETRY)

        return handle_page
