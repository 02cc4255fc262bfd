"""The published runs, read without torch."""

from api.http.pagination import decode_cursor, encode_cursor
from api.recipes.schemas import Published, RecipeOut, RecipePage
from ttm_core.spec import recipes
from ttm_jobs.errors import NotFound

_CURSOR = "recipes"


class RecipeNotFound(NotFound):
    """There is no such recipe; the nearest are named."""

    code = "recipe_not_found"


def page(*, query: str, limit: int, cursor: str | None) -> RecipePage:
    """A page of the recipes whose name or title holds every word of the query, after the one the cursor names."""
    words = query.lower().split()
    every = map(recipes.find, recipes.names())
    found = [each for each in every if all(word in f"{each.name} {each.title}".lower() for word in words)]
    if cursor is not None:
        names = [each.name for each in found]
        found = found[decode_cursor(_CURSOR, cursor, lambda position: names.index(position[0])) + 1 :]
    has_more = len(found) > limit
    items = [_view(each) for each in found[:limit]]
    following = encode_cursor(_CURSOR, [items[-1].name]) if has_more else None
    return RecipePage(items=items, next_cursor=following, has_more=has_more)


def get(name: str) -> RecipeOut:
    """A recipe by its exact name. RecipeNotFound, naming the nearest."""
    try:
        return _view(recipes.find(name))
    except recipes.UnknownRecipe as error:
        raise RecipeNotFound(f"{str(error)[0].upper()}{str(error)[1:]}{'' if '?' in str(error) else '.'}") from None


def _view(recipe: recipes.Recipe) -> RecipeOut:
    return RecipeOut(
        name=recipe.name,
        title=recipe.title,
        source=recipe.source,
        published=Published.model_validate(recipe.published),
        spec=dict(recipe.spec),
    )
