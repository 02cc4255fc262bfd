"""Iteration over paginated lists."""

from collections.abc import AsyncIterator

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.protocol import Params
from ttm_client.responses import Model, read_field, read_items


async def pages(transport: AsyncTransport, model: type[Model], path: str, params: Params) -> AsyncIterator[Model]:
    """Yields every item of a list in order and requests pages as needed."""
    cursor: str | None = None
    while True:
        response = await transport.request("GET", path, params={**params, "cursor": cursor})
        for item in read_items(model, response):
            yield item
        cursor = read_field(response, "next_cursor")
        if cursor is None:
            return
