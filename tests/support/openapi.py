"""The OpenAPI document: that of the current code, and the committed one, which a test keeps equal."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from api.app import create_app

SNAPSHOT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
# The path of an upload with a file name in the place of the id.
NAMED_UPLOAD = ("put", "/uploads/{upload_id}")


@cache
def document() -> dict[str, Any]:
    """The document. Do not change it: it is generated once per process, because that takes a third of a second."""
    return create_app().openapi()


@cache
def committed() -> dict[str, Any]:
    """The committed document, for parameters of tests: to generate it would delay the collection of tests in each process.

    Do not change it.
    """
    found: dict[str, Any] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    return found


def operations() -> list[tuple[str, str]]:
    """Method and path of every operation."""
    return [(method, path) for path, methods in committed()["paths"].items() for method in methods]
