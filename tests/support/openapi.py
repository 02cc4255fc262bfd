"""The OpenAPI document of the current code."""

from functools import cache
from typing import Any

from api.app import create_app

# The path of an upload with a file name in the place of the id.
NAMED_UPLOAD = ("put", "/uploads/{upload_id}")


@cache
def document() -> dict[str, Any]:
    """The document. Do not change it: it is generated once per process, because that takes a third of a second."""
    return create_app().openapi()


def operations() -> list[tuple[str, str]]:
    """Method and path of every operation."""
    return [(method, path) for path, methods in document()["paths"].items() for method in methods]
