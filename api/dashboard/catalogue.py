"""Pages of what a job can be made from: architectures and recipes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.architectures import service as architectures
from api.dashboard.pages import page
from api.dashboard.query import Query as Address
from api.pagination import CursorParameter
from api.recipes import service as recipes

router = APIRouter()

Words = Annotated[str, Query(max_length=128)]
_ROWS = 100


@router.get("/ui/architectures")
def architectures_page(
    request: Request, q: Words = "", family: Words = "", cursor: CursorParameter = None
) -> HTMLResponse:
    """Every model, with its size and cost."""
    return page(
        "architectures.html",
        page=architectures.page(query=q, family=family or None, limit=_ROWS, cursor=cursor),
        q=q,
        family=family,
        query=Address(request.url, request.query_params.multi_items()),
    )


@router.get("/ui/recipes")
def recipes_page(request: Request, q: Words = "", cursor: CursorParameter = None) -> HTMLResponse:
    """Published runs to start from."""
    return page(
        "recipes.html",
        page=recipes.page(query=q, limit=_ROWS, cursor=cursor),
        q=q,
        query=Address(request.url, request.query_params.multi_items()),
    )
