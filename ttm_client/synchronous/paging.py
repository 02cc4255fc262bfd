# From asynchronous/paging.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Iteration over paginated lists."""

from collections.abc import Iterator

from ttm_client.protocol import Params
from ttm_client.responses import Model, read_field, read_items
from ttm_client.synchronous.transport import Transport


def pages(transport: Transport, model: type[Model], path: str, params: Params) -> Iterator[Model]:
    """Yields every item of a list in order and requests pages as needed."""
    cursor: str | None = None
    while True:
        response = transport.request("GET", path, params={**params, "cursor": cursor})
        yield from read_items(model, response)
        cursor = read_field(response, "next_cursor")
        if cursor is None:
            return
