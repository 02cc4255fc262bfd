"""The page of the API."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from api.dashboard.pages import page
from api.openapi import error_codes

router = APIRouter()


@router.get("/docs")
def docs_page(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page, complete and without anything from elsewhere."""
    document = request.app.openapi()
    operations = [
        {"path": path, "method": method, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag = {tag["name"]: (tag, [o for o in operations if tag["name"] in o["tags"]]) for tag in document["tags"]}
    return page("docs.html", document=document, by_tag=by_tag, codes=error_codes())
