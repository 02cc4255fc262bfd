"""Routes of recipes."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.recipes import service
from api.recipes.schemas import RecipeOut, RecipePage
from api.recipes.service import RecipeNotFound

router = APIRouter(prefix="/recipes", tags=["recipes"])


@router.get(
    "",
    operation_id="recipes_list",
    summary="Search the recipes",
    responses=problems(InvalidRequest, InvalidCursor),
)
def recipes_list(
    q: Annotated[str, Query(max_length=128, description="Words that must all occur in the name or title.")] = "",
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> RecipePage:
    """Published experiments with their accuracies. A job uses a recipe with `{"recipe": NAME, ...}`."""
    return service.page(query=q, limit=limit, cursor=cursor)


@router.get(
    "/{name:path}",
    operation_id="recipes_get",
    summary="Show a recipe",
    responses=problems(RecipeNotFound),
)
def recipes_get(name: Annotated[str, Path(max_length=200)]) -> RecipeOut:
    """A recipe by its exact name. The error for an unknown name suggests similar names."""
    return service.get(name)
