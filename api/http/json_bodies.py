"""Bodies in JSON as RFC 8259 has it between systems: UTF-8, without a byte order mark, each name of an object once."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.http.errors import MalformedBody, UnsupportedMediaType
from ttm_jobs.errors import TooLarge

BODY_REFUSALS = (MalformedBody, UnsupportedMediaType, TooLarge)
"""Of a body in JSON, before its fields are looked at."""


class JsonRoute(APIRoute):
    """The route of what takes a body in JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_exactly(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return handle_exactly


class _Request(Request):
    async def json(self) -> Any:
        """JSONDecodeError, which is answered as a malformed body."""
        return _parse(await self.body())


def _parse(body: bytes) -> Any:
    try:
        # Of bytes, json would take UTF-16 and UTF-32, too; of a text that begins with a mark, nothing.
        return json.loads(body.decode(), object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError(f"it is not UTF-8 from byte {error.start} on", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        # An integer of more digits than Python reads, or a name given twice.
        raise json.JSONDecodeError(str(error), "", 0) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            # One reader takes the first, another the last: what was checked and what was meant might differ.
            raise ValueError(f"the name {name[:100]!r} is given twice")
        fields[name] = value
    return fields
