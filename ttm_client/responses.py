"""Reads responses. One without the expected content raises UnexpectedResponse: another program answered."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from ttm_client.errors import UnexpectedResponse

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], response: httpx2.Response) -> Model:
    """The body as a model."""
    with _expected(response):
        return model.model_validate_json(response.content)


def read_items(model: type[Model], response: httpx2.Response) -> tuple[Model, ...]:
    """The items of a list as models."""
    with _expected(response):
        return tuple(model.model_validate(item) for item in json.loads(response.content)["items"])


def read_field(response: httpx2.Response, name: str) -> Any:
    """A field of the body."""
    with _expected(response):
        return json.loads(response.content)[name]


def read_object(response: httpx2.Response) -> dict[str, Any]:
    """The body as a JSON object."""
    with _expected(response):
        return dict(json.loads(response.content))


def read_header(response: httpx2.Response, name: str) -> str:
    """A header that this service always sends."""
    with _expected(response):
        return str(response.headers[name])


def read_event(model: type[Model], data: str, fields: Mapping[str, Any], response: httpx2.Response) -> Model:
    """An event of a stream as a model, with `fields` besides its data."""
    with _expected(response):
        return model.model_validate({**json.loads(data), **fields})


@contextmanager
def _expected(response: httpx2.Response) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, ValidationError) as error:
        reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise UnexpectedResponse(
            f"{response.request.url} answered with data of another form ({reason}): the URL is not that of this "
            "service, or this client is too old for the service."
        ) from error
