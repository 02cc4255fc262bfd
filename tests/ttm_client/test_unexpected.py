"""Responses of proxies and other programs, outages, and arguments of other types."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.answering import answering
from tests.support.studies import create_study
from ttm_client import ApiError, Client, ConnectionFailed, InvalidRequest, NotFound, UnexpectedResponse
from ttm_client.synchronous.transport import Transport
from ttm_jobs.settings import Settings

_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


def calls(client: Client, file: Path) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: client.jobs.get("a"),
        "list": lambda: list(client.jobs.list()),
        "cancel": lambda: client.jobs.cancel(_ID),
        "download": lambda: client.jobs.download_student(_ID, file.with_name("student")),
        "upload": lambda: client.uploads.create(file),
        "events": lambda: list(client.jobs.events(_ID)),
    }


CALLS = ["get", "list", "cancel", "download", "upload", "events"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize("call", CALLS)
def test_a_redirect_of_the_service_names_the_url_to_use(call: str, weights: Path) -> None:
    moved = {"Location": "https://ttm.example.org{path}", "Content_Type": "text/html"}
    with (
        answering(301, b"moved", **moved) as url,
        Client(url) as client,
        pytest.raises(UnexpectedResponse, match=r"Use https://ttm\.example\.org as the URL"),
    ):
        calls(client, weights)[call]()


@pytest.mark.parametrize("call", CALLS)
def test_a_web_page_of_a_proxy_is_a_typed_error(call: str, weights: Path) -> None:
    with (
        answering(200, b"<title>Sign in</title>", Content_Type="text/html; charset=utf-8") as url,
        Client(url) as client,
        pytest.raises(UnexpectedResponse, match="a web page"),
    ):
        calls(client, weights)[call]()
    with (
        answering(302, b"", Location="https://sso.example.org/login") as url,
        Client(url) as client,
        pytest.raises(UnexpectedResponse, match=r"sso\.example\.org/login.*sign in"),
    ):
        calls(client, weights)[call]()


def test_a_stream_of_another_type_is_not_opened_again_and_again() -> None:
    with (
        answering(200, b"{}", Content_Type="application/json") as url,
        Client(url) as client,
        pytest.raises(UnexpectedResponse, match="application/json instead of text/event-stream"),
    ):
        list(client.jobs.events(_ID))


@pytest.mark.parametrize("body", ["{}", "[]", "null", '"a"', '{"items": [1], "next_cursor": null}', "{"])
@pytest.mark.parametrize("call", [call for call in CALLS if call != "events"])
def test_another_json_service_is_a_typed_error(call: str, body: str, weights: Path) -> None:
    with (
        answering(200, body.encode(), Content_Type="application/json") as url,
        Client(url) as client,
        pytest.raises(UnexpectedResponse, match=r"127\.0\.0\.1.*data of another form.*not that of this service"),
    ):
        calls(client, weights)[call]()


def test_every_method_reports_another_json_service() -> None:
    """Also for strings and numbers where objects are expected, and lists without `items`."""
    with answering(200, b"{}", Content_Type="application/json") as url, Client(url) as client:
        for name in vars(client):
            resource = getattr(client, name)
            if hasattr(resource, "list") and name != "measurements":
                with pytest.raises(UnexpectedResponse, match="no 'items'"):
                    list(resource.list())
        for call in (
            client.usage,
            client.queue.get,
            lambda: client.jobs.metrics("a"),
            lambda: client.studies.front("a"),
        ):
            with pytest.raises(UnexpectedResponse, match="data of another form"):
                call()


def test_an_error_of_another_service_is_an_error_with_its_status() -> None:
    for body in (b'{"errors": 5}', b'{"errors": {"a": 1}, "detail": null}', b"[1]", b"\xff"):
        with answering(418, body, Content_Type="application/json") as url, Client(url) as client:
            with pytest.raises(ApiError) as error:
                client.jobs.get("a")
            assert error.value.status == 418


def test_a_first_connection_that_fails_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    monkeypatch.setattr(Transport, "pause", lambda self, attempt: pauses.append(attempt) or 0.0)
    with Client("http://127.0.0.1:9") as client, pytest.raises(ConnectionFailed):
        list(client.jobs.events(_ID))
    assert len(pauses) == 4


def test_retry_after_without_a_number_is_ignored() -> None:
    with answering(503, b"", Retry_After="nan") as url:
        transport = Transport(url, attempts=2, first_pause=0.0)
        with pytest.raises(Exception, match="503"):
            transport.request("GET", "/jobs")
        transport.close()


def test_an_upload_waits_for_a_restart(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service cannot be reached for longer than one request is retried."""
    file = tmp_path / "teacher.pt"
    file.write_bytes(bytes(3_000_000))
    failed: list[str] = []
    request = Transport.request

    def flaky(self: Transport, method: str, path: str, **options: Any) -> Any:
        restarts = {"PATCH": not failed, "HEAD": len(failed) < 4, "GET": len(failed) < 6}
        if restarts.get(method):
            failed.append(method)
            raise ConnectionFailed("the service restarts")
        return request(self, method, path, **options)

    monkeypatch.setattr(Transport, "request", flaky)
    monkeypatch.setattr(Transport, "pause", lambda self, attempt: 0.0)
    monkeypatch.setattr("ttm_client.synchronous.polling._PAUSE_SECONDS", 0.0)
    with Client(url) as client:
        assert client.uploads.create(file).size == 3_000_000
        assert failed == ["PATCH", "HEAD", "HEAD", "HEAD", "GET", "GET"]


@pytest.mark.parametrize("lost", ["HEAD", "GET"])
def test_an_upload_gives_up_after_its_reconnect_timeout(
    url: str, weights: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    failed: list[str] = []
    request = Transport.request

    def flaky(self: Transport, method: str, path: str, **options: Any) -> Any:
        if method == lost or (lost == "HEAD" and method == "PATCH"):
            failed.append(method)
            raise ConnectionFailed("the service is gone")
        return request(self, method, path, **options)

    monkeypatch.setattr(Transport, "request", flaky)
    monkeypatch.setattr("ttm_client.synchronous.polling._PAUSE_SECONDS", 0.01)
    with Client(url) as client:
        with pytest.raises(ConnectionFailed):
            client.uploads.create(weights, reconnect_timeout=0.3)
        assert failed.count(lost) > 10, "for some time, not for a number of attempts"


def test_a_followed_log_waits_for_a_restart(client: Client, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[str] = []
    request = Transport.request

    def flaky(self: Transport, method: str, path: str, **options: Any) -> Any:
        polls.append(path)
        if len(polls) in (2, 4):
            raise ConnectionFailed("the service restarts")
        if len(polls) == 6:
            client.jobs.cancel(job_id)
        return request(self, method, path, **options)

    monkeypatch.setattr("ttm_client.synchronous.polling._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(Transport, "request", flaky)
    assert list(client.jobs.follow_log(job_id, interval=0.01)) == []
    assert len(polls) > 6


def test_a_string_is_one_value(client: Client, job_id: str) -> None:
    (tagged,) = client.jobs.tag_many(job_id, add="night")
    assert tagged.tags == ("night",)
    assert [job.id for job in client.jobs.list(tags="night", states="queued")] == [job_id]
    assert [each.id for each in client.jobs.cancel_matching(tags="night", dry_run=True)] == [job_id]
    (tagged,) = client.jobs.tag_matching(states="queued", remove="night")
    assert tagged.tags == ()


def test_jobs_to_compare_may_be_a_list(client: Client, settings: Settings) -> None:
    spec = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    ids = [client.jobs.create(**spec).id for _ in range(2)]
    assert [job.id for job in client.jobs.compare(ids).jobs] == ids
    assert [job.id for job in client.jobs.compare(*ids).jobs] == ids


def test_studies_are_filtered_by_states_as_jobs_are(client: Client, engine: Engine) -> None:
    study_id = create_study(engine)
    for states in ("running", ["running", "failed"], {"paused", "running"}):
        assert [study.id for study in client.studies.list(states=states)] == [study_id]
    assert list(client.studies.list(states=("failed", "paused"))) == []
    with pytest.raises(InvalidRequest, match="'queued' is not one of"):
        list(client.studies.list(states="queued"))


def test_an_unknown_filter_does_not_select_all_jobs(client: Client) -> None:
    with pytest.raises(TypeError, match=r"no filter 'state'\. Filters are states, tags, name"):
        list(client.jobs.list(state="queued"))  # type: ignore[call-arg]


def test_a_value_that_json_does_not_have_is_named(client: Client) -> None:
    with pytest.raises(TypeError, match=r"/deadline: JSON has no datetime\.timedelta"):
        client.jobs.create(student="resnet18", dataset="file:///data", deadline=timedelta(1))  # type: ignore[arg-type]


def test_a_registered_dataset_may_be_a_local_folder(client: Client, settings: Settings, weights: Path) -> None:
    folder = settings.data_roots[0]
    assert client.datasets.create("pets", folder).dataset["uri"] == folder.resolve().as_uri()
    assert client.teachers.create("pets", {"checkpoint": weights, "architecture": "resnet18"}).uri == "teacher:pets@1"
    with pytest.raises(FileNotFoundError):
        client.datasets.create("pets", "no such folder")
    with pytest.raises(NotFound):
        client.datasets.get("pets", 2)
