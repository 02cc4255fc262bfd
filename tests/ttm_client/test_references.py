"""Jobs, studies and other resources as arguments: by id, by name, or as a response."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine

from tests.support.asynchronous import run_async
from tests.support.factories import queued
from tests.support.studies import create_study
from ttm_client import ApiError, AsyncClient, Client, Conflict, NotFound
from ttm_jobs.settings import Settings

_ARGUMENTS: dict[str, Any] = {
    "artifact": "student.safetensors",
    "device": "pi5",
    "image": Path(__file__),
    "number": 0,
    "values": {},
}


def _methods(parameter: str) -> Iterator[str]:
    with Client("http://127.0.0.1:9") as client:
        for name, resource in vars(client).items():
            for method, function in inspect.getmembers(resource, inspect.ismethod):
                if not method.startswith("_") and parameter in inspect.signature(function).parameters:
                    yield f"{name}.{method}"


# Needs a token for the Hub; tests/ttm_client/test_push.py tests it.
JOB_METHODS = [method for method in _methods("job") if method != "jobs.push"]
STUDY_METHODS = [*_methods("study")]


@pytest.fixture
def sent(client: Client) -> list[str]:
    """The methods and paths of the requests that the client sends."""
    requests: list[str] = []

    def note(request: httpx2.Request) -> None:
        requests.append(f"{request.method} {request.url.path}")

    client._transport._http.event_hooks = {"request": [note]}
    return requests


def _outcome(client: Client, method: str, parameter: str, reference: object, folder: Path) -> object:
    """What a method returns, without its times, or the error that it raises."""
    resource, name = method.split(".")
    function = getattr(getattr(client, resource), name)
    given = {parameter: reference}
    for each, described in inspect.signature(function).parameters.items():
        if each == "path":
            given[each] = folder / "student"
        elif described.default is inspect.Parameter.empty and described.kind is not inspect.Parameter.VAR_KEYWORD:
            given.setdefault(each, _ARGUMENTS.get(each))
    try:
        found = function(**given)
        return type([*found] if inspect.isgenerator(found) else found)
    except ApiError as error:
        return error.code


@pytest.mark.parametrize("method", JOB_METHODS)
def test_a_job_is_given_by_id_name_or_response(
    client: Client, engine: Engine, sent: list[str], method: str, tmp_path: Path
) -> None:
    outcomes = []
    for number in range(4):
        job = client.jobs.cancel(queued(engine, name=f"pets/{number}, größe?"))
        forms = (job.id, job, next(client.jobs.list()), job.name)
        sent.clear()
        outcomes.append(_outcome(client, method, "job", forms[number], tmp_path))
        requests = [request.replace(job.id, "ID") for request in sent]
        if number == 0:
            by_id = requests
        elif number < 3:
            assert requests == by_id, "no request to find the job"
        else:
            assert "GET /jobs" in requests, "the name is not that of one segment of a path"
            assert requests[-1] == by_id[-1]
    assert len(set(outcomes)) == 1, outcomes


@pytest.mark.parametrize("method", STUDY_METHODS)
def test_a_study_is_given_by_id_name_or_response(
    client: Client, engine: Engine, sent: list[str], method: str, tmp_path: Path
) -> None:
    outcomes = []
    for number in range(3):
        study = client.studies.cancel(create_study(engine, name=f"kiosk {number}"))
        sent.clear()
        outcomes.append(_outcome(client, method, "study", (study.id, study, study.name)[number], tmp_path))
        requests = [request.replace(study.id, "ID") for request in sent]
        if number == 0:
            by_id = requests
        elif number == 1:
            assert requests == by_id, "no request to find the study"
        else:
            assert requests[0] == f"GET /studies/{study.name}"
            assert requests[-1] in (by_id[-1], requests[0])
    assert len(set(outcomes)) == 1, outcomes


def test_several_jobs_are_given_by_id_name_or_response(client: Client, engine: Engine) -> None:
    ids = [queued(engine, name=name) for name in ("a", "b", "c")]
    mixed = [ids[0], "b", client.jobs.get(ids[2])]
    assert [result.id for result in client.jobs.tag_many(mixed, add=["night"])] == ids
    assert [job.id for job in client.jobs.compare(mixed, baseline="b").jobs] == ids
    with pytest.raises(NotFound, match="'d'"):
        client.jobs.cancel_many([*mixed, "d"])
    assert {job.state for job in client.jobs.list()} == {"queued"}
    assert [job.id for job in client.queue.jobs()] == ids
    assert [result.state for result in client.jobs.cancel_many(client.queue.jobs())] == ["cancelled"] * 3


def test_an_ambiguous_name_is_an_error(client: Client, engine: Engine) -> None:
    for name in ("pets", "pets", "pets/night", "pets/night"):
        queued(engine, name=name)
    for name in ("pets", "pets/night"):
        with pytest.raises(Conflict, match="matches more than one job"):
            client.jobs.cancel(name)


def test_jobs_are_filtered_by_a_study_and_parts(client: Client, engine: Engine, settings: Settings) -> None:
    folder = settings.data_roots[0]
    entry = client.datasets.create("digits", folder)
    job = client.jobs.create(student="resnet18", dataset=entry, method="ce")
    queued(engine)
    assert [each.id for each in client.jobs.list(dataset=entry)] == [job.id]
    study = client.studies.get(create_study(engine, name="kiosk"))
    for reference in (study.id, "kiosk", study):
        assert list(client.jobs.list(study=reference)) == []
        assert client.jobs.cancel_matching(study=reference, dry_run=True) == ()
    with pytest.raises(NotFound, match="No study"):
        list(client.jobs.list(study="kiosks"))


def test_a_spec_may_name_responses(client: Client, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "teacher.pt"
    file.write_bytes(b"weights")
    upload = client.uploads.create(file)
    dataset = client.datasets.create("digits", settings.data_roots[0])
    student = client.architectures.get("resnet18")
    teacher = client.teachers.create("pets", upload)
    assert teacher.teacher["checkpoint"] == upload.uri
    for part in (upload, teacher, {"checkpoint": upload}):
        job = client.jobs.create(teacher=part, student=student, dataset=dataset)
        assert job.spec["teacher"]["checkpoint"] == upload.uri
        assert job.student == "resnet18"
    ensemble = client.jobs.create(teachers=(upload, teacher), student=student, dataset=dataset)
    assert [each["checkpoint"] for each in ensemble.spec["teachers"]] == [upload.uri] * 2
    with pytest.raises(Conflict, match="succeed"):
        client.jobs.create(teacher=job, student=student, dataset=dataset)


def test_other_resources_are_given_as_responses(client: Client, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "teacher.pt"
    file.write_bytes(b"weights")
    upload = client.uploads.create(file)
    assert client.uploads.get(upload) == client.uploads.get(upload.uri) == upload
    assert client.uploads.inspect(upload).problem is not None
    webhook = client.webhooks.create("https://hooks.example.org/ttm")
    delivery = client.webhooks.ping(webhook)
    assert client.webhooks.redeliver(webhook, delivery).id == delivery.id
    client.webhooks.delete(webhook)
    entry = client.datasets.create("digits", settings.data_roots[0])
    assert client.datasets.get(entry) == entry
    client.datasets.delete(entry)
    with pytest.raises(TypeError, match="Name the version"):
        client.datasets.delete("digits")
    client.devices.claim("pi5")
    (device,) = client.devices.list()
    assert client.devices.claim(device) is None
    assert client.projects.sources(client.projects.sources("default")).project == "default"
    assert "uploads_create" in [each.action for each in client.audit.list(object=upload)]
    client.uploads.delete(upload)


def test_other_types_are_refused(client: Client, engine: Engine, job_id: str) -> None:
    study = client.studies.get(create_study(engine))
    for wrong, kind in ((study, "Study"), (None, "NoneType"), (7, "int")):
        for call in (client.jobs.get, client.jobs.cancel, client.jobs.wait, client.measurements.list):
            with pytest.raises(TypeError, match=f"Expected a job, its id or its name, not {kind}"):
                call(wrong)  # type: ignore[arg-type, operator]
    job = client.jobs.get(job_id)
    for call, expected in (
        (client.studies.pause, "a study, its id or its name"),
        (client.uploads.get, "an upload, its id or its URI"),
        (client.keys.revoke, "an API key or its id"),
        (client.webhooks.get, "a webhook or its id"),
    ):
        with pytest.raises(TypeError, match=f"Expected {expected}, not Job"):
            call(job)  # type: ignore[operator]


def test_names_in_asyncio(url: str, engine: Engine) -> None:
    job_id = queued(engine, name="pets/night")

    async def use() -> list[str]:
        async with AsyncClient(url) as client:
            job = await client.jobs.cancel("pets/night")
            assert job.id == job_id
            return [event.data["state"] async for event in client.jobs.events(job) if event.kind == "state"]

    assert run_async(use())[-1] == "cancelled"
