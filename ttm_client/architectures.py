"""The models that the service can train."""

from collections.abc import Iterator
from urllib.parse import quote

from ttm_client.models import Architecture
from ttm_client.paging import pages
from ttm_client.transport import Transport


class Architectures:
    """`client.architectures`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, query: str | None = None, *, family: str | None = None) -> Iterator[Architecture]:
        """Architectures whose name contains `query`, and of one family if given; pages are fetched as needed."""
        params: dict[str, str | int | None] = {"q": query, "family": family, "limit": 200}
        for item in pages(self._transport, "/architectures", params):
            yield Architecture.model_validate(item)

    def get(self, name: str) -> Architecture:
        """An architecture by its exact name; NotFound, naming the nearest, if there is none."""
        response = self._transport.request("GET", f"/architectures/{quote(name)}")
        return Architecture.model_validate_json(response.content)
