"""Strict JSON request bodies (RFC 8259): UTF-8, no byte order mark, no duplicate names in an object."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import to_thread
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.http.errors import MalformedBody, UnsupportedMediaType
from ttm_jobs.errors import TooLarge

# Larger bodies are validated in a thread first.
_LARGE_BYTES = 16 << 10

BODY_ERRORS = (MalformedBody, UnsupportedMediaType, TooLarge)
"""Errors of a JSON body that are raised before its fields are validated."""


class JsonRoute(APIRoute):
    """A route with a JSON body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle

        def check(body: bytes) -> None:
            try:
                parsed = _parse(body)
            except json.JSONDecodeError:
                return  # reported by `handle`
            _, errors = field.validate(parsed, {}, loc=("body",))
            if errors:
                raise RequestValidationError(errors, body=parsed)

        async def handle_strictly(request: Request) -> Response:
            strict = _Request(request.scope, request.receive)
            body = await strict.body()
            if len(body) > _LARGE_BYTES and _is_json(request):
                # Thousands of errors take seconds, during which the event loop would serve nobody else.
                await to_thread.run_sync(check, body)
            return await handle(strict)

        return handle_strictly


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith(("/json", "+json"))


class _Request(Request):
    async def json(self) -> Any:
        """Raises JSONDecodeError, which becomes the error `malformed_body`."""
        return _parse(await self.body())


def _parse(body: bytes) -> Any:
    try:
        # Decoded first: given bytes, `json` would also accept UTF-16 and UTF-32.
        return json.loads(body.decode(), object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError(f"invalid UTF-8 at byte {error.start}", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        # A duplicate name, or an integer with more digits than Python parses.
        raise json.JSONDecodeError(str(error), "", 0) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            # Parsers differ in which value they keep, so the validated value might not be the intended one.
            raise ValueError(f"duplicate name {name[:100]!r}")
        fields[name] = value
    return fields
