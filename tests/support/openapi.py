"""The OpenAPI document of the current code."""

import copy
from functools import cache
from typing import Any

from api.app import create_app

# The path of an upload with a file name in the place of the id.
NAMED_UPLOAD = ("put", "/uploads/{upload_id}")


@cache
def _document() -> dict[str, Any]:
    return create_app().openapi()


def document() -> dict[str, Any]:
    """A copy of the document, which a test may change. Generated once per process, because that takes a third of a second."""
    return copy.deepcopy(_document())


def operations() -> list[tuple[str, str]]:
    """Method and path of every operation."""
    return [(method, path) for path, methods in _document()["paths"].items() for method in methods]
