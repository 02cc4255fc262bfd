"""Iteration over paginated lists."""

import json
from collections.abc import AsyncIterator
from typing import Any

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.protocol import Params


async def pages(transport: AsyncTransport, path: str, params: Params) -> AsyncIterator[dict[str, Any]]:
    """Yields every item of a list in order and requests pages as needed."""
    cursor: str | None = None
    while True:
        answer = await transport.request("GET", path, params={**params, "cursor": cursor})
        page = json.loads(answer.content)
        for item in page["items"]:
            yield item
        cursor = page["next_cursor"]
        if cursor is None:
            return
