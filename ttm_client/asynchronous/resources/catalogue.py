"""Architectures and recipes."""

from collections.abc import AsyncIterator

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.jobs import Architecture, Recipe
from ttm_client.protocol import Params, segments
from ttm_client.responses import read


class AsyncArchitectures:
    """Lists the architectures that the service can train.

    >>> model = await client.architectures.get("resnet18")
    >>> f"{model.parameters:,} parameters"
    '11,689,512 parameters'
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, query: str | None = None, *, family: str | None = None) -> AsyncIterator[Architecture]:
        """Yields architectures whose name contains `query`, of one family if given. Pages are requested as needed.

        >>> [model.name async for model in client.architectures.list("cifar/resnet20")]
        ['cifar/resnet20']
        """
        params: Params = {"q": query, "family": family, "limit": 200}
        async for item in pages(self._transport, Architecture, "/architectures", params):
            yield item

    async def get(self, name: str) -> Architecture:
        """Returns an architecture by its exact name. Raises NotFound, which suggests similar names.

        >>> model = await client.architectures.get("cifar/resnet20")
        >>> model.family, model.input_size
        ('resnet', [3, 32, 32])
        """
        response = await self._transport.request("GET", f"/architectures/{segments(name)}")
        return read(Architecture, response)


class AsyncRecipes:
    """Lists recipes: published experiments that a job can start from.

    >>> recipe = await client.recipes.get("cifar100/resnet56-resnet20/wttm")
    >>> recipe.published["distilled"]
    71.92
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, query: str | None = None) -> AsyncIterator[Recipe]:
        """Yields recipes whose name or title contains every word of `query`. Pages are requested as needed.

        >>> [recipe.name async for recipe in client.recipes.list("resnet56-resnet20 wttm")]
        ['cifar100/resnet56-resnet20/wttm', ...]
        """
        async for item in pages(self._transport, Recipe, "/recipes", {"q": query, "limit": 200}):
            yield item

    async def get(self, name: str) -> Recipe:
        """Returns a recipe by its exact name. Raises NotFound, which suggests similar names.

        >>> recipe = await client.recipes.get("cifar100/resnet56-resnet20/wttm")
        >>> recipe.spec["student"]["architecture"]
        'cifar/resnet20'
        """
        response = await self._transport.request("GET", f"/recipes/{segments(name)}")
        return read(Recipe, response)
