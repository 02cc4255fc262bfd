# From asynchronous/paging.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Iteration over paginated lists."""

import json
from collections.abc import Iterator
from typing import Any

from ttm_client.protocol import Params
from ttm_client.synchronous.transport import Transport


def pages(transport: Transport, path: str, params: Params) -> Iterator[dict[str, Any]]:
    """Yields every item of a list in order and requests pages as needed."""
    cursor: str | None = None
    while True:
        answer = transport.request("GET", path, params={**params, "cursor": cursor})
        page = json.loads(answer.content)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
