"""The OpenAPI document compared with that of the last release: additions are allowed, breaking changes are not.

A release replaces the document in tests/data/openapi by its own.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.compatibility import breaks
from tests.support.openapi import document

[RELEASED] = (Path(__file__).parents[1] / "data" / "openapi").glob("*.json")
Document = dict[str, Any]


def test_api_is_compatible_with_the_last_release() -> None:
    assert breaks(json.loads(RELEASED.read_text()), document()) == []


def job_request(document: Document) -> Document:
    schema: Document = document["components"]["schemas"]["JobRequest"]
    return schema


def schemas(document: Document) -> Document:
    found: Document = document["components"]["schemas"]
    return found


CHANGES: dict[str, tuple[Callable[[Document], Any], str]] = {
    "an operation": (lambda d: d["paths"]["/jobs"].pop("get"), "GET /jobs: removed"),
    "a path": (lambda d: d["paths"].pop("/usage"), "GET /usage: removed"),
    "an operation id": (lambda d: d["paths"]["/usage"]["get"].update(operationId="use"), "operationId"),
    "a filter": (lambda d: d["paths"]["/jobs"]["get"]["parameters"].pop(0), "removed"),
    "a required filter": (
        lambda d: d["paths"]["/jobs"]["get"]["parameters"].append(
            {"name": "x", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "parameter x is required now",
    ),
    "a field of an answer": (lambda d: schemas(d)["JobOut"]["properties"].pop("state"), "state: removed"),
    "a field that is not always there": (
        lambda d: schemas(d)["JobOut"]["required"].remove("state"),
        "no longer always",
    ),
    "a type of an answer": (
        lambda d: schemas(d)["JobOut"]["properties"]["attempt"].update(type="string"),
        "attempt: type changed",
    ),
    "an answer that may be null": (
        lambda d: schemas(d)["JobOut"]["properties"].update(attempt={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        "attempt: type changed (null)",
    ),
    "a state": (lambda d: schemas(d)["JobState"]["enum"].remove("paused"), "'paused' removed"),
    "a field of a request": (lambda d: job_request(d)["properties"].pop("tags"), "tags: removed"),
    "a required field of a request": (lambda d: job_request(d)["required"].append("name"), "name: required now"),
    "a bound of a request": (
        lambda d: job_request(d)["properties"]["priority"].update(maximum=5),
        "priority: maximum was 9.0, is 5",
    ),
    "a value of a request": (lambda d: schemas(d)["Scope"]["enum"].remove("read"), "'read' removed"),
    "a short form of a request": (
        lambda d: job_request(d)["properties"].update(student={"$ref": "#/components/schemas/StudentSpec"}),
        "student: type changed (string)",
    ),
    "a variant of a request": (
        lambda d: schemas(d)["TrainingSpec"]["properties"]["precision"]["enum"].remove("float16"),
        "'float16' removed",
    ),
    "a media type": (
        lambda d: d["paths"]["/uploads"]["post"]["requestBody"]["content"].pop("application/octet-stream"),
        "application/octet-stream is no longer accepted",
    ),
    "a status": (lambda d: d["paths"]["/jobs"]["post"]["responses"].pop("201"), "status 201 removed"),
    "a problem code": (
        lambda d: [
            answer.update(description="")
            for methods in d["paths"].values()
            for operation in methods.values()
            for answer in operation["responses"].values()
            if "`job_not_found`" in answer["description"]
        ],
        "problem code job_not_found: removed",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_breaking_changes_are_found(name: str) -> None:
    change, message = CHANGES[name]
    changed = copy.deepcopy(document())
    change(changed)
    found = breaks(document(), changed)
    assert any(message in line for line in found), found


ADDITIONS: dict[str, Callable[[Document], Any]] = {
    "an operation": lambda d: d["paths"].update({"/new": {"get": copy.deepcopy(d["paths"]["/usage"]["get"])}}),
    "a filter": lambda d: d["paths"]["/jobs"]["get"]["parameters"].append(
        {"name": "x", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a field of an answer": lambda d: schemas(d)["JobOut"]["properties"].update(x={"type": "string"}),
    "a field of a request": lambda d: job_request(d)["properties"].update(x={"type": "string", "default": ""}),
    "a state": lambda d: schemas(d)["JobState"]["enum"].append("resting"),
    "a wider bound": lambda d: job_request(d)["properties"]["priority"].update(maximum=99),
    "a field that may be left out": lambda d: job_request(d)["required"].clear(),
    "a short form": lambda d: job_request(d)["properties"].update(
        priority={"anyOf": [job_request(d)["properties"]["priority"], {"type": "string"}]}
    ),
    "a media type": lambda d: d["paths"]["/jobs"]["post"]["requestBody"]["content"].update(
        {"application/yaml": {"schema": {}}}
    ),
    "words": lambda d: d["paths"]["/usage"]["get"].update(summary="Other", description="Other"),
}


@pytest.mark.parametrize("name", ADDITIONS)
def test_additions_are_compatible(name: str) -> None:
    changed = copy.deepcopy(document())
    ADDITIONS[name](changed)
    assert changed != document()
    assert breaks(document(), changed) == []
