"""Routes of the dashboard. The pages use the same services as the REST API."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from api.dashboard import fleet, home, models, search, settings
from api.dashboard.jobs import damage
from api.dashboard.jobs import endpoints as jobs
from api.dashboard.pages import page
from api.dashboard.studies import endpoints as studies
from api.http.problems import error_codes

router = APIRouter(include_in_schema=False)
for part in (home, studies, jobs, damage, models, fleet, settings, search):
    router.include_router(part.router)


def static_files() -> StaticFiles:
    """The style sheet, scripts and icon."""
    return StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/docs")
def docs_page(request: Request) -> HTMLResponse:
    """The API reference, rendered from the OpenAPI document without resources of other hosts."""
    document = request.app.openapi()
    operations = [
        {"path": path, "method": method, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag = {tag["name"]: (tag, [o for o in operations if tag["name"] in o["tags"]]) for tag in document["tags"]}
    return page("docs.html", document=document, by_tag=by_tag, codes=error_codes())


@router.get("/ui")
@router.get("/ui/")
def home_address() -> RedirectResponse:
    """The home page for what the addresses of all other pages start with."""
    return RedirectResponse("/")


@router.get("/ui/{path:path}")
def unknown_page(request: Request) -> HTMLResponse:
    """The page for an address under /ui that no other route serves."""
    return page("not_found.html", 404, message="There is no such page.", path=request.url.path)
