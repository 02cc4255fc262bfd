"""Walking a list of the service page by page."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ttm_client.transport import Transport


def pages(
    transport: Transport, path: str, params: Mapping[str, str | int | list[str] | None]
) -> Iterator[dict[str, Any]]:
    """Every item of a list, newest page first; the next page is asked for when it is needed."""
    cursor: str | None = None
    while True:
        page = json.loads(transport.request("GET", path, params={**params, "cursor": cursor}).content)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
