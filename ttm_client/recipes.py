"""Published runs that a job may start from."""

from collections.abc import Iterator
from urllib.parse import quote

from ttm_client.models import Recipe
from ttm_client.paging import pages
from ttm_client.transport import Transport


class Recipes:
    """`client.recipes`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, query: str | None = None) -> Iterator[Recipe]:
        """Recipes whose name or title holds all words of `query`; pages are fetched as needed."""
        for item in pages(self._transport, "/recipes", {"q": query, "limit": 200}):
            yield Recipe.model_validate(item)

    def get(self, name: str) -> Recipe:
        """A recipe by its exact name; NotFound, naming the nearest, if there is none."""
        return Recipe.model_validate_json(self._transport.request("GET", f"/recipes/{quote(name)}").content)
