"""Field errors: a JSON pointer, a plain message, suggestions for misspelled names, and a summary in `detail`."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.test_bad_requests import assert_problem
from ttm_jobs.settings import Settings


def submit(client: TestClient, settings: Settings, **fields: Any) -> dict[str, Any]:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce", **fields}
    answer = client.post("/jobs", json=body)
    assert_problem(answer, 422, "invalid_request")
    problem: dict[str, Any] = answer.json()
    return problem


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"training": {"epoch": 3}}, "/training/epoch", "`training.epoch`: no such field. Did you mean `epochs`?"),
        ({"metod": "ce"}, "/metod", "`metod`: no such field. Did you mean `method`?"),
        (
            {"method": {"kind": "wttm", "betta": 1}},
            "/method/betta",
            "`method.betta`: no such field. Did you mean `beta`?",
        ),
        (
            {"training": {"optimizer": {"name": "adamw", "learning_rat": 1}}},
            "/training/optimizer/learning_rat",
            "`training.optimizer.learning_rat`: no such field. Did you mean `learning_rate`?",
        ),
        ({"training": {"xyzzy": 1}}, "/training/xyzzy", "`training.xyzzy`: no such field."),
    ],
)
def test_unknown_fields_suggest_the_nearest_name(
    sqlite_client: TestClient, sqlite_settings: Settings, fields: dict[str, Any], pointer: str, detail: str
) -> None:
    problem = submit(sqlite_client, sqlite_settings, **fields)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert problem["detail"] == detail


@pytest.mark.parametrize("method", [{"kind": "wtm"}, "wtm"])
def test_unknown_variants_suggest_the_nearest_one(
    sqlite_client: TestClient, sqlite_settings: Settings, method: object
) -> None:
    problem = submit(sqlite_client, sqlite_settings, method=method)
    path = "method.kind" if isinstance(method, dict) else "method"
    assert problem["errors"][0]["pointer"] == "/" + path.replace(".", "/")
    assert problem["detail"].startswith(f"`{path}`: 'wtm' is not one of 'ce', ")
    assert problem["detail"].endswith("Did you mean 'wttm'?")


def test_literals_list_their_values(sqlite_client: TestClient, sqlite_settings: Settings) -> None:
    problem = submit(sqlite_client, sqlite_settings, training={"precision": "float61"})
    assert problem["errors"][0]["pointer"] == "/training/precision"
    assert "'float61' is not one of " in problem["detail"]
    assert "Did you mean 'float16'?" in problem["detail"]


def test_detail_states_the_first_error_and_counts_the_others(
    sqlite_client: TestClient, sqlite_settings: Settings
) -> None:
    problem = submit(sqlite_client, sqlite_settings, priority=12, training={"epochs": "ten"})
    assert len(problem["errors"]) == 2
    assert problem["detail"].endswith("(1 more error.)")
    assert problem["detail"].startswith("`" + problem["errors"][0]["pointer"][1:].replace("/", "."))
