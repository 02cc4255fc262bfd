"""Access control: keys, scopes, projects, allowed hosts, signed links and limits."""

import base64
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from shutil import disk_usage
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from api.app import create_app
from api.auth.middleware import RateLimit
from tests.api.conftest import ON_SQLITE
from tests.support.factories import create_job, queued
from tests.support.measuring import measured
from tests.support.openapi import NAMED_UPLOAD, operations
from tests.support.runs import STUDENT_BYTES, claim, succeed, train
from tests.support.studies import create_study
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import ApiKey, Job, Scope
from ttm_jobs.models.project import UNLIMITED
from ttm_jobs.repositories import registry, uploads, workers
from ttm_jobs.repositories.access import keys, projects
from ttm_jobs.repositories.dashboard import saved_views
from ttm_jobs.repositories.jobs import crud, leases, scheduling
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.settings import Limits, Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage

MINUTE = timedelta(minutes=1)


def make_key(engine: Engine, project: str = "default", scope: Scope = Scope.ADMIN, **fields: Any) -> str:
    with session_scope(engine) as session:
        projects.ensure(session, project)
        return keys.create(session, project_id=project, name="test", scope=scope, **fields).secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def admin_client(engine: Engine, client: TestClient) -> TestClient:
    """A client with an admin key of the default project."""
    client.headers.update(bearer(make_key(engine)))
    return client


def test_loopback_requires_no_key_until_one_exists(client: TestClient) -> None:
    assert client.get("/jobs").status_code == 200


def test_other_addresses_require_a_key(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"host": "0.0.0.0"}))) as client:
        refusal = client.get("/jobs")
        assert (refusal.status_code, refusal.json()["code"]) == (401, "unauthorized")
        assert "Bearer" in refusal.headers["www-authenticate"]
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Bearer ttm_00000000_" + "A" * 43, "Basic !", "Basic YQ==", "Digest a", "Bearer é"],
)
@ON_SQLITE
def test_wrong_credentials_are_refused_even_if_none_are_required(client: TestClient, authorization: str) -> None:
    answer = client.get("/jobs", headers={"Authorization": authorization.encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_key_is_shown_once_and_stored_hashed(client: TestClient, engine: Engine) -> None:
    made = client.post("/keys", json={"name": "first", "scope": "admin"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith(made.json()["prefix"] + "_")
    assert len(base64.urlsafe_b64decode(secret.removeprefix(made.json()["prefix"] + "_") + "=")) == 32
    # The first key makes keys mandatory.
    assert client.get("/jobs").status_code == 401
    listed = client.get("/keys", headers=bearer(secret))
    assert secret not in listed.text
    with read_scope(engine) as session:
        assert all(secret not in str(value) for value in session.execute(select(ApiKey.__table__)).one())


@pytest.mark.parametrize("scope", ["read", "submit"])
def test_first_key_must_be_admin(client: TestClient, scope: str) -> None:
    answer = client.post("/keys", json={"name": "first", "scope": scope})
    assert (answer.status_code, answer.json()["code"]) == (422, "first_key_not_admin")
    assert answer.json()["errors"][0]["pointer"] == "/scope"
    assert client.get("/keys").json()["items"] == []
    admin = bearer(client.post("/keys", json={"name": "first", "scope": "admin"}).json()["secret"])
    assert client.post("/keys", json={"name": "second", "scope": scope}, headers=admin).status_code == 201


def test_browser_sends_the_key_as_password(client: TestClient, engine: Engine) -> None:
    secret = make_key(engine)
    assert client.get("/", auth=("anyone", secret)).status_code == 200
    # Chromium reads only the first challenge.
    assert client.get("/").headers["www-authenticate"].startswith("Basic")


def test_page_says_how_browsers_send_the_key(client: TestClient, engine: Engine) -> None:
    make_key(engine)
    page = client.get("/ui/jobs", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert "enter the key as the password" in page.text
    page = client.get("/ui/jobs/nothing", headers={"Accept": "text/html"} | bearer(make_key(engine)))
    assert page.status_code == 404
    assert "password" not in page.text


def test_revoked_and_expired_keys_are_refused(admin_client: TestClient, engine: Engine) -> None:
    other = admin_client.post("/keys", json={"name": "other", "scope": "read"}).json()
    assert admin_client.get("/jobs", headers=bearer(other["secret"])).status_code == 200
    assert admin_client.delete(f"/keys/{other['id']}").status_code == 204
    refused = admin_client.get("/jobs", headers=bearer(other["secret"]))
    assert (refused.status_code, refused.json()["detail"]) == (401, "The API key is unknown, revoked or expired.")
    with session_scope(engine) as session:
        past = now(session) - timedelta(seconds=1)
    assert admin_client.get("/jobs", headers=bearer(make_key(engine, expires_at=past))).status_code == 401
    late = admin_client.post("/keys", json={"name": "late", "expires_at": past.isoformat()})
    assert (late.status_code, late.json()["code"]) == (422, "expiry_passed")


def test_scopes_limit_the_permissions_of_a_key(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine)
    reading, submitting = (bearer(make_key(engine, scope=scope)) for scope in (Scope.READ, Scope.SUBMIT))
    assert client.get(f"/jobs/{job_id}", headers=reading).status_code == 200
    assert client.get(f"/jobs/{job_id}", headers=submitting).status_code == 200
    assert client.post(f"/jobs/{job_id}/cancel", headers=reading).json()["code"] == "forbidden"
    assert client.get(f"/jobs/{job_id}", headers=reading).json()["state"] == "queued"
    assert client.get("/keys", headers=submitting).json()["code"] == "forbidden"
    assert client.post("/keys", json={"name": "x"}, headers=submitting).json()["code"] == "forbidden"
    assert client.post(f"/jobs/{job_id}/cancel", headers=submitting).status_code == 200


def test_owner_of_a_job_is_the_name_of_its_key(client: TestClient, settings: Settings) -> None:
    (settings.data_roots[0] / "pets").mkdir()
    body = {"student": "resnet18", "method": "ce", "dataset": (settings.data_roots[0] / "pets").as_uri()}
    assert client.post("/jobs", json=body).json()["owner"] is None
    admin = bearer(client.post("/keys", json={"name": "ops", "scope": "admin"}).json()["secret"])
    ana = bearer(client.post("/keys", json={"name": "ana's laptop", "scope": "submit"}, headers=admin).json()["secret"])
    job = client.post("/jobs", json=body, headers=ana).json()
    assert job["owner"] == "ana's laptop"
    listed = client.get("/jobs", params={"owner": "ana's laptop"}, headers=admin).json()["items"]
    assert [(each["id"], each["owner"]) for each in listed] == [(job["id"], "ana's laptop")]
    client.post(f"/jobs/{job['id']}/cancel", headers=ana)
    again = client.post(f"/jobs/{job['id']}/retry", headers=admin).json()
    assert (again["retry_of"], again["owner"]) == (job["id"], "ops")


def test_logs_errors_and_events_contain_no_secrets(
    admin_client: TestClient, engine: Engine, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = queued(engine)
    succeed(engine, storage, claim(engine, job_id))
    mine = admin_client.headers["authorization"].removeprefix("Bearer ")
    answers = [
        admin_client.get("/jobs", headers=bearer(mine + "x")),
        admin_client.get("/jobs", headers={"Authorization": f"Digest {mine}"}),
        admin_client.get(f"/jobs?cursor={mine}"),
        admin_client.get(f"/{mine[:4]}", auth=("anyone", mine)),
        admin_client.get("/jobs", headers={"X-Request-ID": mine}),
        admin_client.get(f"/jobs/{job_id}/events"),
        admin_client.get(f"/jobs/{job_id}"),
        admin_client.get("/keys"),
    ]
    made = admin_client.post("/keys", json={"name": "other"}).json()["secret"]
    hook = admin_client.post("/webhooks", json={"url": "https://hooks.example.org/"}).json()["secret"]
    link = admin_client.post(f"/jobs/{job_id}/artifacts/student.safetensors/link").json()["href"]
    assert admin_client.get(link).status_code == 200
    answers += [
        admin_client.get("/webhooks"),
        admin_client.get("/keys", headers=bearer(made)),
        admin_client.get(link + "0"),
    ]
    logged = capsys.readouterr()
    output = logged.out + logged.err
    assert f"/jobs/{job_id}/artifacts/student.safetensors" in output
    for secret in (mine, made, hook, link.rpartition("=")[2]):
        assert secret not in output
        assert all(secret not in answer.text for answer in answers)


def test_last_use_of_a_key_is_recorded(admin_client: TestClient, engine: Engine) -> None:
    admin_client.get("/jobs")
    with read_scope(engine) as session:
        assert session.scalars(select(ApiKey.last_used_at)).one() is not None


@pytest.fixture
def other_project(engine: Engine, storage: Storage) -> dict[str, str]:
    """Path parameters that name resources of another project."""
    with session_scope(bound_to(engine, "other")) as session:
        job_id = create_job(session).id
        upload = uploads.create(session, filename=None, media_type="x/y")
    lease = claim(engine, job_id)
    train(engine, lease, range(1, 3))
    succeed(engine, storage, lease)
    with session_scope(bound_to(engine, "other")) as session:
        uploads.complete(session, upload.id, size=1, sha256="0" * 64)
        for kind in ("teacher", "dataset"):
            registry.add(session, kind, "student.safetensors", {"uri": "x"}, description=None)
        webhook = webhook_crud.create(session, url="https://hooks.example.org/", events=[], description=None)
        saved_views.save(session, "jobs", "student.safetensors", "state=failed")
        request = requests.request(session, device="pi5", key="uploads/x", sha256="0" * 64, size=1)
    study_id = create_study(bound_to(engine, "other"))
    make_key(engine, "other")
    with read_scope(engine) as session:
        key_id = session.scalars(select(ApiKey.id).where(ApiKey.project_id == "other")).one()
    ids = {"job_id": job_id, "upload_id": upload.id, "key_id": key_id, "webhook_id": webhook.id, "version": "1"}
    ids |= {"delivery_id": UNKNOWN_ID}
    ids |= {"request_id": request.id, "device": "pi5", "study_id": study_id}
    return {**ids, "name": "student.safetensors", "filename": "f", "number": "0", "page": "jobs", "project": "other"}


def test_resources_of_another_project_are_not_found_on_any_route(
    admin_client: TestClient, engine: Engine, other_project: dict[str, str]
) -> None:
    named = ("/teachers/", "/datasets/")
    foreign = [
        (method, path)
        for method, path in operations()
        if ("_id}" in path or path.startswith(named)) and (method, path) != NAMED_UPLOAD
    ]
    foreign.append(("delete", "/views/{page}/{name}"))
    assert len(foreign) >= 35
    for method, path in foreign:
        answer = admin_client.request(method, path.format(**other_project), **body_for(method, path))
        assert answer.status_code == 404, (method, path, answer.text)
        if method == "head":
            continue
        assert answer.json()["code"].endswith("_not_found"), (method, path)
        absent = admin_client.request(
            method, path.format(**{**other_project, **dict.fromkeys(_IDS, UNKNOWN_ID)}), **body_for(method, path)
        )
        assert absent.json()["code"] == answer.json()["code"], "a resource of another project looks like a missing one"
    with read_scope(engine) as session:
        assert crud.get(session, other_project["job_id"]).state is JobState.SUCCEEDED
    for path in ("/teachers", "/datasets", "/webhooks", "/uploads", "/views"):
        assert admin_client.get(path).json()["items"] == [], path
    for path in ("/jobs", "/keys"):
        assert all(other_project["job_id"] not in json.dumps(item) for item in admin_client.get(path).json()["items"])
        assert other_project["key_id"] not in admin_client.get(path).text
    assert other_project["job_id"] not in admin_client.get("/").text
    for page in ("", "/damage"):
        assert admin_client.get(f"/ui/jobs/{other_project['job_id']}{page}").status_code == 404
    for uri in (
        f"job:{other_project['job_id']}",
        f"upload:{other_project['upload_id']}",
        "teacher:student.safetensors",
    ):
        refusal = admin_client.post("/jobs", json={"student": "resnet18", "teacher": uri, "dataset": "file:///nowhere"})
        assert "/teacher/checkpoint" in [error["pointer"] for error in refusal.json()["errors"]]


UNKNOWN_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
_IDS = ("job_id", "upload_id", "key_id", "webhook_id", "study_id", "request_id")


def body_for(method: str, path: str) -> dict[str, Any]:
    """Arguments of a valid request, so that only the id can be wrong."""
    if method == "patch" and "uploads" in path:
        return {"headers": {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}, "content": b""}
    if "uploads" in path:
        return {"headers": {"Tus-Resumable": "1.0.0"}}
    if method == "patch" and "webhooks" in path:
        return {"json": {"enabled": True}}
    if method == "patch":
        return {"json": {"name": "mine"}}
    if path.endswith("/predict"):
        return {"headers": {"Content-Type": "image/png"}, "content": b""}
    if path.endswith("/replay") and "webhooks" in path:
        return {"params": {"since": "2027-01-01T00:00:00Z"}}
    if method == "post" and path.endswith("/result"):
        return {"json": asdict(measured("0" * 64))}
    if method == "post" and path.endswith("/failure"):
        return {"json": {"error": "no memory"}}
    if method == "post" and path.endswith("/measurements"):
        return {"json": {"artifact": "student.onnx", "device": "pi5", **asdict(measured("0" * 64))}}
    return {}


def test_every_route_requires_a_key(client: TestClient, engine: Engine, other_project: dict[str, str]) -> None:
    for method, path in operations():
        answer = client.request(method, path.format(**other_project), **body_for(method, path))
        if path in ("/healthz", "/readyz"):
            assert answer.status_code != 401
        else:
            assert answer.status_code == 401, (method, path)
            assert method == "head" or answer.json()["code"] == "unauthorized"
    for path in ("/", "/docs", "/openapi.json", f"/ui/jobs/{other_project['job_id']}", "/nowhere"):
        assert client.get(path).status_code == 401, path


def test_unknown_hosts_are_refused(settings: Settings) -> None:
    local = settings.model_copy(update={"allowed_hosts": ()})
    with TestClient(create_app(local), base_url="http://localhost:8000") as client:
        assert client.get("/jobs").status_code == 200
        assert client.get("/jobs", headers={"Host": "[::1]:8000"}).status_code == 200
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", ""):
            answer = client.get("/jobs", headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed"), host
        for path in ("/", "/ui/sign-in", "/ui/jobs"):
            page = client.get(path, headers={"Host": "evil.example", "Accept": "text/html"})
            assert (page.status_code, page.headers["Content-Type"]) == (421, "text/html; charset=utf-8")
            assert "<h1>Unknown host name</h1>" in page.text
            assert "TTM_ALLOWED_HOSTS" in page.text
        script = client.get("/jobs", headers={"Host": "evil.example", "Accept": "text/html", "Sec-Fetch-Mode": "cors"})
        assert script.json()["code"] == "host_not_allowed"


def test_concurrent_submissions_respect_the_limit_of_queued_jobs(engine: Engine, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    with TestClient(create_app(settings.model_copy(update={"project_max_queued_jobs": 3}))) as client:

        def submit(times: int) -> list[int]:
            with ThreadPoolExecutor(10) as pool:
                return sorted(pool.map(lambda _: client.post("/jobs", json=body).status_code, range(times)))

        def set_limit(limit: int | None) -> int | None:
            with session_scope(engine) as session:
                projects.ensure(session, "default").max_queued_jobs = limit
            shown: int | None = client.get("/usage").json()["limits"]["queued_jobs"]
            return shown

        assert submit(50) == [201] * 3 + [403] * 47
        assert client.post("/jobs", json=body).json()["code"] == "quota_exceeded"
        # The project's own limits override the default, to more and to none at all.
        assert set_limit(5) == 5
        assert submit(10) == [201] * 2 + [403] * 8
        assert set_limit(UNLIMITED) is None
        assert submit(2) == [201] * 2
        assert set_limit(None) == 3
        assert submit(1) == [403]
    with read_scope(engine) as session:
        assert len(session.scalars(select(Job.id)).all()) == 7


@pytest.mark.parametrize("default", [None, 1])
def test_project_respects_its_limit_of_running_jobs(engine: Engine, database_url: str, default: int | None) -> None:
    if default is None:
        with session_scope(engine) as session:
            projects.ensure(session, "default").max_running_jobs = 1
    else:
        engine = create_engine(database_url, default_limits=Limits(running_jobs=default))
        with session_scope(engine) as session:
            projects.ensure(session, "other").max_running_jobs = UNLIMITED
    first, second, other = queued(engine), queued(engine), None
    with session_scope(bound_to(engine, "other")) as session:
        other = create_job(session).id
    claim(engine, first)
    with session_scope(engine) as session:
        assert leases.claim(session, second, "worker-2", duration=MINUTE) is None
        notified = crud.renotify_queued(session, after=timedelta(0), limit=10)
        assert [job.id for job in notified] == [other], "a job over the limit gets no wake-up message"
        assert scheduling.scheduling_order(session, "default") == ["other"]
    claim(engine, other)
    engine.dispose()


def test_stored_bytes_and_device_hours_are_limited(
    admin_client: TestClient, engine: Engine, storage: Storage, settings: Settings
) -> None:
    job_id = queued(engine)
    succeed(engine, storage, claim(engine, job_id))
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    with session_scope(engine) as session:
        project = projects.ensure(session, "default")
        used = projects.usage(session, "default")
        assert used.stored_bytes > 1_000_000
        assert used.device_hours > 0
        project.max_stored_bytes = used.stored_bytes + 10
    assert admin_client.post("/uploads", content=b"x" * 11).json()["code"] == "quota_exceeded"
    assert list(storage.list("uploads")) == []
    assert admin_client.post("/uploads", content=b"x" * 10).status_code == 201
    with session_scope(engine) as session:
        project = projects.ensure(session, "default")
        project.max_stored_bytes = None
        project.max_device_hours = used.device_hours / 2
    assert admin_client.post("/jobs", json=body).json()["code"] == "quota_exceeded"


def test_requests_over_the_rate_limit_are_refused(settings: Settings) -> None:
    # A burst of one request, and so few afterwards that none is refilled during the test.
    with TestClient(create_app(settings.model_copy(update={"requests_per_second": 0.001}))) as client:
        answers = [client.get("/jobs") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 1000


def test_address_without_a_valid_key_is_limited(settings: Settings, engine: Engine) -> None:
    with session_scope(engine) as session:
        key = keys.create(session, project_id="default", name="a key", scope=Scope.ADMIN).secret
    with TestClient(create_app(settings.model_copy(update={"requests_per_second": 0.001}))) as client:
        guesses = [client.get("/jobs", headers={"Authorization": f"Bearer ttm_{n}"}).status_code for n in range(2)]
        assert guesses == [401, 429]
        assert client.get("/jobs").status_code == 429
        assert client.get("/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_rate_limit_is_on_by_default() -> None:
    assert Settings().requests_per_second == 100


def test_rate_limit_refills_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("api.auth.middleware.time.monotonic", lambda: clock[0])
    limit = RateLimit(per_second=2)
    assert [limit.wait("a") for _ in range(20)] == [0.0] * 20
    assert limit.wait("a") == pytest.approx(0.5)
    assert limit.wait("b") == 0.0
    clock[0] = 0.5
    assert (limit.wait("a"), limit.wait("a")) == (0.0, pytest.approx(0.5))


def test_process_without_keys_listens_on_loopback_only(sqlite_url: str, tmp_path: Path) -> None:
    environment = {"TTM_DATABASE_URL": sqlite_url, "TTM_HOST": "0.0.0.0", "TTM_PORT": "0", "PATH": "/usr/bin"}
    ended = subprocess.run([sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ttm keys create" in ended.stderr
    # The address of the socket counts, not the setting.
    with socket.create_server(("0.0.0.0", 0)) as listener:
        fd = listener.fileno()
        command = [sys.executable, "-m", "api", "--fd", str(fd)]
        environment["TTM_HOST"] = "127.0.0.1"
        ended = subprocess.run(command, env=environment, pass_fds=(fd,), capture_output=True, text=True, check=False)
    assert ended.returncode == 1


def test_signed_link_grants_one_file_until_it_expires(
    admin_client: TestClient, engine: Engine, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = queued(engine)
    succeed(engine, storage, claim(engine, job_id))
    made = admin_client.post(f"/jobs/{job_id}/artifacts/student.safetensors/link", params={"seconds": 60})
    href = made.json()["href"]
    del admin_client.headers["Authorization"]
    assert admin_client.get(href).content == STUDENT_BYTES
    assert admin_client.get(href, headers={"Range": "bytes=0-3"}).status_code == 206
    path, _, query = href.partition("?")
    for forged in (
        path,
        href.replace("student.safetensors", "trainer.log"),
        href.replace("project=default", "project=other"),
        href.replace("expires=", "expires=9"),
        href[:-1] + ("0" if href[-1] != "0" else "1"),
        f"{path}?signature=",
        f"/jobs?{query}",
        f"/jobs/{job_id}?{query}",
    ):
        assert admin_client.get(forged).status_code == 401, forged
    assert admin_client.delete(href).status_code == 401
    later = time.time() + 61
    monkeypatch.setattr("api.auth.credentials.links.time.time", lambda: later)
    assert admin_client.get(href).status_code == 401


def test_workers_queue_and_usage_show_the_own_project_only(
    admin_client: TestClient, engine: Engine, other_project: dict[str, str], settings: Settings
) -> None:
    mine = queued(engine)
    with session_scope(engine) as session:
        for worker, job_id in (("w1", mine), ("w2", other_project["job_id"])):
            workers.register(session, worker, kind="worker", hostname="h", pid=1, devices=["cpu"], job_id=job_id)
    shown = {each["id"]: (each["busy"], each["job_id"]) for each in admin_client.get("/workers").json()["items"]}
    assert shown == {"w1": (True, mine), "w2": (True, None)}
    queue = admin_client.get("/queue").json()
    assert (queue["depth"], queue["running"], queue["idle_workers"]) == (1, 0, 0)
    assert queue["oldest_age_seconds"] >= 0
    usage = admin_client.get("/usage").json()
    assert (usage["project"], usage["queued_jobs"], usage["stored_bytes"]) == ("default", 1, 0)
    half = disk_usage(settings.data_roots[0]).total // 2
    defaults = {"running_jobs": None, "queued_jobs": 10_000, "stored_bytes": half, "device_hours": None}
    assert usage["limits"] == defaults


def test_sign_in_page_without_single_sign_on_asks_for_a_key(client: TestClient, engine: Engine) -> None:
    secret = make_key(engine)
    asked = client.get("/sign-in", headers={"Accept": "text/html"}, follow_redirects=False)
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic ")
    assert "enter the key as the password" in asked.text
    assert client.get("/sign-in", auth=("", secret), follow_redirects=False).headers["location"] == "/"
