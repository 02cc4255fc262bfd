# From asynchronous/resources/recipes.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Recipes."""

from collections.abc import Iterator
from urllib.parse import quote

from ttm_client.models.jobs import Recipe
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Recipes:
    """Lists recipes: published experiments that a job can start from.

    >>> recipe = client.recipes.get("cifar100/resnet56-resnet20/wttm")
    >>> recipe.published["distilled"]
    71.92
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, query: str | None = None) -> Iterator[Recipe]:
        """Yields recipes whose name or title contains every word of `query`. Pages are requested as needed.

        >>> [recipe.name for recipe in client.recipes.list("resnet56-resnet20 wttm")]
        ['cifar100/resnet56-resnet20/wttm', ...]
        """
        for item in pages(self._transport, "/recipes", {"q": query, "limit": 200}):
            yield Recipe.model_validate(item)

    def get(self, name: str) -> Recipe:
        """Returns a recipe by its exact name. Raises NotFound, which suggests similar names.

        >>> recipe = client.recipes.get("cifar100/resnet56-resnet20/wttm")
        >>> recipe.spec["student"]["architecture"]
        'cifar/resnet20'
        """
        response = self._transport.request("GET", f"/recipes/{quote(name)}")
        return Recipe.model_validate_json(response.content)
