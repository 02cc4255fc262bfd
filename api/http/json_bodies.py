"""Strict JSON request bodies (RFC 8259): UTF-8, no byte order mark, no duplicate names in an object."""

import json
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

from anyio import to_thread
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.http.errors import MalformedBody, ManyFieldErrors, UnsupportedMediaType
from api.http.problems import MAX_FIELDS
from ttm_jobs.errors import TooLarge

# Elements of a list or an object in which errors are described.
_CUT = 100
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

        model: Any = field.field_info.annotation
        adapter: TypeAdapter[Any] = TypeAdapter(model)

        def check(body: bytes) -> None:
            try:
                parsed = _parse(body)
            except json.JSONDecodeError:
                return  # reported by `handle`
            try:
                adapter.validate_python(parsed)
            except ValidationError as error:
                if error.error_count() > MAX_FIELDS:
                    raise ManyFieldErrors(_first_errors(adapter, parsed), parsed, error.error_count()) from None

        async def handle_strictly(request: Request) -> Response:
            strict = _Request(request.scope, request.receive)
            body = await strict.body()
            if len(body) > _LARGE_BYTES and _is_json(request):
                # FastAPI would describe each of thousands of errors on the event loop and serve nobody else meanwhile.
                await to_thread.run_sync(check, body)
            return await handle(strict)

        return handle_strictly


def _first_errors(adapter: TypeAdapter[Any], body: Any) -> list[dict[str, Any]]:
    """The errors of the body with its long lists and objects cut. Pydantic describes all errors of a body or none, and
    other threads wait while it does.
    """
    try:
        adapter.validate_python(_cut(body))
    except ValidationError as error:
        return [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
    return [{"type": "too_many_errors", "loc": ("body",), "msg": "Too many values are invalid", "input": None}]


def _cut(value: Any) -> Any:
    match value:
        case list():
            return [_cut(each) for each in value[:_CUT]]
        case dict():
            return {name: _cut(value[name]) for name in islice(value, _CUT)}
        case _:
            return value


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
