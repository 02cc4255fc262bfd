"""Search in the recipes. Does not import torch."""

from api.http.pagination import decode_cursor, encode_cursor
from api.recipes.schemas import PublishedAccuracy, RecipeOut, RecipePage
from ttm_core.spec import recipes
from ttm_jobs.errors import NotFound

_CURSOR = "recipes"


class RecipeNotFound(NotFound):
    """There is no such recipe. The message suggests similar names."""

    code = "recipe_not_found"


def page(*, query: str, limit: int, cursor: str | None) -> RecipePage:
    """A page of the recipes whose name or title contains every word of the query."""
    words = query.lower().split()
    candidates = map(recipes.find, recipes.names())
    found = [each for each in candidates if all(word in f"{each.name} {each.title}".lower() for word in words)]
    if cursor is not None:
        names = [each.name for each in found]
        found = found[decode_cursor(_CURSOR, cursor, lambda position: names.index(position[0])) + 1 :]
    has_more = len(found) > limit
    items = [_view(each) for each in found[:limit]]
    following = encode_cursor(_CURSOR, [items[-1].name]) if has_more else None
    return RecipePage(items=items, next_cursor=following, has_more=has_more)


def get(name: str) -> RecipeOut:
    """A recipe by its exact name. Raises RecipeNotFound with similar names."""
    try:
        return _view(recipes.find(name))
    except recipes.UnknownRecipe as error:
        raise RecipeNotFound(f"{str(error)[0].upper()}{str(error)[1:]}{'' if '?' in str(error) else '.'}") from None


def _view(recipe: recipes.Recipe) -> RecipeOut:
    return RecipeOut(
        name=recipe.name,
        title=recipe.title,
        source=recipe.source,
        published=PublishedAccuracy.model_validate(recipe.published),
        spec=dict(recipe.spec),
    )
