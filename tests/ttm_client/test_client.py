"""The client's calls and its handling of errors."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.api_server import served
from tests.support.checkpoints import checkpoint
from tests.support.factories import create_job
from tests.support.flaky_proxy import FlakyProxy
from tests.support.runs import STUDENT_BYTES, claim, fail, succeed, train
from ttm_client import (
    ApiError,
    Client,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    Job,
    JobEvent,
    NotFound,
    Unavailable,
    WaitTimeout,
)
from ttm_client.errors import FieldError, error_class
from ttm_client.synchronous.transport import Transport
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def test_job_from_upload_to_download(
    client: Client, settings: Settings, engine: Engine, storage: Storage, tmp_path: Path
) -> None:
    weights = tmp_path / "größe teacher.pt"
    weights.write_bytes(bytes(3_000_000))
    calls: list[tuple[int, int]] = []
    upload = client.uploads.create(weights, lambda done, total: calls.append((done, total)))
    assert (upload.filename, upload.size) == (weights.name, 3_000_000)
    assert calls[-1] == (3_000_000, 3_000_000)
    assert client.uploads.get(upload.id) == upload

    job = client.jobs.create(
        teacher=upload.uri,
        student={"architecture": "resnet18"},
        dataset=settings.data_roots[0].as_uri(),
        name="pets",
        method={"kind": "wttm", "beta": 3.0},
        training={"epochs": 2},
    )
    assert (job.state, job.name, job.spec["method"]["beta"], job.done) == ("queued", "pets", 3.0, False)
    lease = claim(engine, job.id)
    train(engine, lease, range(1, 4))
    running = client.jobs.get(job.id)
    assert running.progress is not None
    assert running.progress.fraction == pytest.approx(0.03)
    assert [point.step for point in client.jobs.metrics(job.id)] == [1, 2, 3]
    assert [list(point.values) for point in client.jobs.metrics(job.id, names=("train/loss",), after_step=2)] == [
        ["train/loss"]
    ]
    succeed(engine, storage, lease)
    updates: list[Job] = []
    done = client.jobs.wait(job.id, 60, updates.append)
    assert (done.state, done.done, updates[-1]) == ("succeeded", True, done)
    assert [artifact.name for artifact in client.jobs.artifacts(job.id)] == ["student.safetensors", "trainer.log"]
    path = client.jobs.download_student(job.id, tmp_path / "new folder" / "student.safetensors")
    assert path.read_bytes() == STUDENT_BYTES
    log = client.jobs.download_artifact(job.id, done.artifacts[1], tmp_path / "log")
    assert log.read_bytes() == b"step 1\n"


def test_lists_iterate_over_all_pages(client: Client, engine: Engine, job_id: str) -> None:
    with session_scope(engine) as session:
        for _ in range(105):
            create_job(session)
    client.jobs.cancel(job_id)
    assert len(list(client.jobs.list())) == 106
    assert [job.id for job in client.jobs.list(states=("cancelled",))] == [job_id]
    names = [architecture.name for architecture in client.architectures.list()]
    assert len(names) == len(set(names)) > 200
    assert client.architectures.get("cifar/resnet20").parameters > 0
    assert {a.family for a in client.architectures.list("resnet", family="resnet")} == {"resnet"}
    recipes = list(client.recipes.list("imagenet"))
    assert recipes == sorted(recipes, key=lambda recipe: recipe.name.lower())
    assert client.recipes.get("cifar100/resnet56-resnet20/wttm").published["distilled"] == 71.92
    with pytest.raises(NotFound, match="did you mean cifar100/resnet56-resnet20/wttm"):
        client.recipes.get("cifar100/resnet56-resnet20/wtm")


def test_problems_are_typed_exceptions(client: Client, job_id: str, settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="Did you mean") as refused:
        client.jobs.create(student="resnet188", dataset="ftp://x", method="ce")
    assert (refused.value.status, refused.value.code) == (422, "unknown_architecture")
    assert [error.pointer for error in refused.value.errors] == ["/student/architecture", "/dataset/uri"]
    assert refused.value.request_id
    with pytest.raises(NotFound):
        client.jobs.get(new_id())
    with pytest.raises(NotFound):
        list(client.jobs.events(new_id()))
    with pytest.raises(Conflict, match="succeeded") as early:
        client.jobs.download_student(job_id, settings.work_dir / "never")
    assert early.value.code == "job_not_finished"
    with pytest.raises(WaitTimeout):
        client.jobs.wait(job_id, 0.1, interval=0.05)


def test_numbers_that_json_cannot_represent_are_typed_errors_of_their_fields(client: Client) -> None:
    limits = {"retention": float("nan"), "latency_ms": float("inf"), "bytes": 5}
    with pytest.raises(InvalidRequest) as refused:
        client.studies.create(
            teacher="upload:1", dataset="file:///x", limits=limits, search={"method.beta": [1.0, -float("inf")]}
        )
    assert refused.value.status == 422
    assert [error.pointer for error in refused.value.errors] == [
        "/limits/retention",
        "/limits/latency_ms",
        "/search/method.beta/1",
    ]


@pytest.mark.parametrize("status", [404, 409, 418, 422, 500, 503])
def test_errors_pass_between_processes(status: int) -> None:
    fields = (FieldError("/student", "No such architecture."),)
    error = error_class(status)(status=status, code="c", title="t", detail="d", errors=fields, request_id="r")
    error.add_note("job 7 of 9")
    for found in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert isinstance(found, ApiError)
        assert type(found) is type(error)
        assert (vars(found), str(found)) == (vars(error), str(error))


def test_connection_error_after_retries() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ConnectionFailed, match="Cannot connect"):
        client.jobs.get("x")


def test_service_that_starts_later_is_reached(settings: Settings) -> None:
    port = free_port()
    states: list[str] = []

    def submit() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            job = client.jobs.create(student="resnet18", dataset=settings.data_roots[0].as_uri(), method="ce")
            states.append(job.state)

    thread = threading.Thread(target=submit)
    thread.start()
    with served(settings, port):
        thread.join(60)
    assert states == ["queued"]


def scripted(answers: list[tuple[int, dict[str, str]]]) -> HTTPServer:
    """A server that sends these responses in order, then 200, in place of an overloaded service."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers = answers.pop(0) if answers else (200, {})
            body = b'{"id": "u", "uri": "upload:u", "filename": null, "size": 1, "state": "complete", "sha256": "", "created_at": "2026-01-01"}'
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays that the client requested."""
    made: list[float] = []
    monkeypatch.setattr("ttm_client.synchronous.transport.time.sleep", made.append)
    return made


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_respected(pauses: list[float], status: int) -> None:
    answers = [(status, {"Retry-After": "7"}), (status, {"Retry-After": "86400"}), (status, {})]
    with scripted(answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            assert client.uploads.get("u").id == "u"
        server.shutdown()
    assert pauses[:2] == [7.0, 60.0]
    assert 0 < pauses[2] < 2


def test_non_idempotent_requests_are_not_retried(pauses: list[float]) -> None:
    with scripted([(503, {})]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client, pytest.raises(Unavailable):
            client.jobs.cancel(new_id())
        server.shutdown()
    assert pauses == []


def test_events_survive_broken_connections(url: str, engine: Engine, storage: Storage, job_id: str) -> None:
    lease = claim(engine, job_id)

    def run() -> None:
        train(engine, lease, range(1, 40))
        succeed(engine, storage, lease)

    # Each connection breaks within an event after about 2 kB.
    with FlakyProxy(url, 2000) as proxy, Client(proxy.url) as client:
        writer = threading.Thread(target=run)
        writer.start()
        events: list[JobEvent] = list(client.jobs.events(job_id))
        writer.join()
        assert proxy.connections > 3
    numbers = [int(event.id) for event in events]
    assert numbers == sorted(set(numbers))
    assert [event.data["step"] for event in events if event.kind == "metrics"] == list(range(1, 40))
    assert events[-1].data["state"] == "succeeded"


def test_event_stream_of_finished_job_ends(client: Client, engine: Engine, job_id: str) -> None:
    fail(engine, claim(engine, job_id))
    events = list(client.jobs.events(job_id))
    assert events[-1].data["state"] == "failed"
    assert list(client.jobs.events(job_id, last_event_id=events[-1].id)) == []


def test_event_stream_gives_up_after_reconnect_timeout(url: str, job_id: str) -> None:
    with FlakyProxy(url, 0) as proxy, Client(proxy.url) as client, pytest.raises(ConnectionFailed):
        list(client.jobs.events(job_id, reconnect_timeout=0.5))


def test_upload_resumes_across_broken_connections(url: str, tmp_path: Path) -> None:
    weights = tmp_path / "teacher.pt"
    weights.write_bytes(os.urandom(3_000_000))
    sent: list[int] = []
    with FlakyProxy(url, None, taken=1_200_000) as proxy, Client(proxy.url) as client:
        upload = client.uploads.create(weights, lambda done, total: sent.append(done))
        assert proxy.connections >= 3
    assert (upload.size, upload.sha256) == (3_000_000, hashlib.sha256(weights.read_bytes()).hexdigest())
    assert sent[-1] == 3_000_000


def test_upload_fails_if_the_service_accepts_no_bytes(url: str, tmp_path: Path) -> None:
    weights = tmp_path / "teacher.pt"
    weights.write_bytes(bytes(3_000_000))
    with FlakyProxy(url, None, taken=2_000) as proxy, Client(proxy.url) as client, pytest.raises(ConnectionFailed):
        client.uploads.create(weights, attempts=2)


def test_url_and_key_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTM_URL", "http://elsewhere:9/")
    assert Client().base_url == "http://elsewhere:9"
    monkeypatch.delenv("TTM_URL")
    assert Client().base_url == "http://127.0.0.1:8000"


def test_submission_with_lost_response_creates_one_job(url: str, engine: Engine, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    # The connection breaks once, before the response is complete.
    with FlakyProxy(url, 100, broken=1) as proxy, Client(proxy.url) as client:
        job = client.jobs.create(**body)
        assert proxy.connections == 2
        assert [each.id for each in client.jobs.list()] == [job.id]
    with FlakyProxy(url, 100, broken=1) as proxy, Client(proxy.url) as client:
        webhook = client.webhooks.create("https://hooks.example.org/ttm")
        assert proxy.connections == 2
        assert [each.id for each in client.webhooks.list()] == [webhook.id]


def test_jobs_are_tagged_found_and_deleted(client: Client, settings: Settings) -> None:
    job = client.jobs.create(student="resnet18", dataset=settings.data_roots[0].as_uri(), method="ce", tags=["a"])
    assert [each.id for each in client.jobs.list(tags=("a",), states=("queued",))] == [job.id]
    assert client.jobs.update(job.id, tags=["b"], name="n").tags == ("b",)
    assert list(client.jobs.list(tags=("a",))) == []
    with pytest.raises(Conflict):
        client.jobs.delete(job.id)
    client.jobs.cancel(job.id)
    client.jobs.delete(job.id)
    with pytest.raises(NotFound):
        client.jobs.get(job.id)


def test_retry_delays_grow_up_to_a_limit() -> None:
    pauses = [Transport(first_pause=0.2).pause(attempt) for attempt in range(12)]
    assert 0.15 <= pauses[0] <= 0.25
    assert max(pauses) <= 12.5


def test_client_imports_no_service_package() -> None:
    program = "import sys, ttm_client; print([n for n in sys.modules if n.split('.')[0] in {names}])"
    names = "('torch', 'fastapi', 'sqlalchemy', 'ttm_jobs', 'ttm_core', 'api', 'celery')"
    command = [sys.executable, "-c", program.format(names=names)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_local_files_are_uploaded_once(client: Client, settings: Settings, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(checkpoint("mini/resnet8_025", 10))
    folder = settings.data_roots[0]
    for path in (teacher, str(teacher), {"checkpoint": str(teacher)}):
        job = client.jobs.create(teacher=path, student="resnet18", dataset=folder)
        (upload,) = client.uploads.list()
        assert job.spec["teacher"]["checkpoint"] == upload.uri
        assert job.spec["dataset"]["uri"] == folder.as_uri()
    described = {"checkpoint": teacher, "architecture": "mini/resnet8_025"}
    assert client.jobs.validate(teacher=described, student="resnet18", dataset=str(folder)).checkpoints[0].candidates
    assert len(list(client.uploads.list())) == 1
    teacher.write_bytes(b"other weights")
    client.jobs.create(teacher=teacher, student="resnet18", dataset=folder)
    assert len(list(client.uploads.list())) == 2
    with pytest.raises(FileNotFoundError, match="neither a local file"):
        client.jobs.create(teacher="no/such/file.pt", student="resnet18", dataset=folder)
