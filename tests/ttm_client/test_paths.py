"""Ids and names in the paths of requests."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ttm_client import Client, InvalidRequest, NotFound

# Methods whose first string is not in a path.
_ELSEWHERE = {
    *("uploads.create", "uploads.ensure", "teachers.create", "datasets.create", "keys.create", "webhooks.create"),
    *("architectures.list", "recipes.list", "queue.jobs", "views.list", "events.stream", "audit.list"),
    *("devices.download", "webhooks.list", "keys.list", "devices.list", "uploads.list", "teachers.list"),
    *("datasets.list", "workers.list", "queue.get", "teacher_stores.list"),
}
# Jobs and studies are found by their name.
_FOUND = {"jobs", "studies"}
_IN_BODY = {("measurements.create", "device")}
# Values of the other arguments.
_ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("name", "page", "device", "request", "webhook", "project", "delivery", "key", "upload"), "a"),
    **dict.fromkeys(("error", "artifact"), "a"),
    "job": "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10",
    "version": 1,
    "number": 1,
    "query": {},
    "values": {},
    "image": Path(__file__),
    "path": Path("unused"),
}


def _methods() -> Iterator[tuple[str, str]]:
    """Each method with each of its arguments that may be in a path."""
    client = Client("http://127.0.0.1:9")
    in_paths = {name for name, value in _ARGUMENTS.items() if value == "a"} - {"error", "artifact"}
    for name, resource in vars(client).items():
        if name in _FOUND:
            continue
        for method, function in inspect.getmembers(resource, inspect.ismethod):
            if not method.startswith("_") and f"{name}.{method}" not in _ELSEWHERE:
                for parameter in inspect.signature(function).parameters:
                    if parameter in in_paths and (f"{name}.{method}", parameter) not in _IN_BODY:
                        yield f"{name}.{method}", parameter
    client.close()


METHODS = [*_methods()]


def _call(client: Client, method: str, parameter: str, value: object) -> object:
    resource, name = method.split(".")
    function: Callable[..., Any] = getattr(getattr(client, resource), name)
    given: dict[str, Any] = {}
    for each, described in inspect.signature(function).parameters.items():
        if each == parameter:
            given[each] = value
        elif each == "version" or (
            described.default is inspect.Parameter.empty and described.kind is not inspect.Parameter.VAR_KEYWORD
        ):
            given[each] = _ARGUMENTS.get(each, "a")
    found = function(**given)
    return list(found) if inspect.isgenerator(found) else found


@pytest.fixture(scope="module")
def unreachable() -> Iterator[Client]:
    with Client("http://127.0.0.1:9") as client:
        yield client


def test_all_resources_with_paths_are_tested() -> None:
    tested = {method.partition(".")[0] for method, _ in METHODS}
    assert tested >= {"uploads", "webhooks", "keys", "views", "devices", "projects", "recipes", "teachers", "datasets"}
    assert "architectures" in tested


@pytest.mark.parametrize(("method", "parameter"), METHODS)
def test_dots_and_empty_names_are_not_sent(unreachable: Client, method: str, parameter: str) -> None:
    """Nothing listens at the URL: a request would raise ConnectionFailed."""
    for value in ("", ".", ".."):
        with pytest.raises(InvalidRequest, match="is not an id or a name"):
            _call(unreachable, method, parameter, value)
    with pytest.raises(TypeError, match=r"^Expected .*, not int"):
        _call(unreachable, method, parameter, 7)


def test_a_name_cannot_be_the_path_of_another_resource(client: Client, job_id: str) -> None:
    for name in ("../jobs", f"../jobs/{job_id}", "a/../../jobs", "/jobs", "resnet18/"):
        with pytest.raises(InvalidRequest):
            client.architectures.get(name)
        with pytest.raises(InvalidRequest):
            client.recipes.get(name)
    for name in ("resnet18?q=a", "resnet18#a", "%2e%2e/jobs", "größe"):
        with pytest.raises(NotFound, match="architecture"):
            client.architectures.get(name)
    for name in (f"../jobs/{job_id}", f"{job_id}/../{job_id}", f"{job_id}/artifacts?", "a b", "größe"):
        for call in (
            client.uploads.get,
            client.webhooks.get,
            client.keys.revoke,
            client.jobs.cancel,
            client.jobs.delete,
        ):
            with pytest.raises(NotFound):
                call(name)
    assert client.architectures.get("cifar/resnet20").name == "cifar/resnet20"
    assert client.jobs.get(job_id).state == "queued"


def test_a_version_is_an_integer(client: Client) -> None:
    with pytest.raises(TypeError, match="an integer, not '1/x'"):
        client.teachers.get("pets", "1/x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an integer, not '0'"):
        client.jobs.damage_image("a", "0")  # type: ignore[arg-type]


def test_a_view_whose_name_has_a_slash(client: Client) -> None:
    client.views.save("jobs", "night/resnet18, größe?", {"state": "failed"})
    assert [view.name for view in client.views.list("jobs")] == ["night/resnet18, größe?"]
    client.views.delete("jobs", "night/resnet18, größe?")
    assert list(client.views.list()) == []
    with pytest.raises(InvalidRequest):
        client.views.save("jobs", "night/../x", {})
