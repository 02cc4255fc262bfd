"""A service whose keys have expired, a service behind a proxy, and requests that authentication must survive."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.support.api_server import served
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import ApiKey, Scope
from ttm_jobs.repositories.access import keys
from ttm_jobs.settings import Settings


@pytest.fixture
def settings(sqlite_template: Path, tmp_path: Path) -> Settings:
    shutil.copy(sqlite_template, tmp_path / "ttm.db")
    return make_settings(f"sqlite:///{tmp_path}/ttm.db", tmp_path).model_copy(update={"allowed_hosts": ()})


def add_key(engine: Engine) -> tuple[str, str]:
    """The id and the secret of a new admin key."""
    with session_scope(engine) as session:
        made = keys.create(session, project_id="default", name="ops", scope=Scope.ADMIN)
        return made.key.id, made.secret


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_service_stays_closed_after_its_last_key(settings: Settings, engine: Engine, how: str) -> None:
    key_id, secret = add_key(engine)
    with served(settings) as url:
        assert httpx2.get(f"{url}/jobs").status_code == 401
        with session_scope(engine) as session:
            if how == "revoked":
                keys.revoke(session, key_id)
            else:
                session.get_one(ApiKey, key_id).expires_at = now(session) - timedelta(seconds=1)
        for headers in ({}, {"Host": "127.0.0.1"}, {"Authorization": f"Bearer {secret}"}):
            assert httpx2.get(f"{url}/jobs", headers=headers).status_code == 401


def test_only_an_explicit_command_opens_a_service_without_valid_keys(settings: Settings, engine: Engine) -> None:
    key_id, _ = add_key(engine)
    with session_scope(engine) as session:
        keys.revoke(session, key_id)
    command = [sys.executable, "-m", "cli", "keys", "delete-all", "--json"]
    environment = {"TTM_DATABASE_URL": settings.database_url, "PATH": "/usr/bin"}
    unconfirmed = subprocess.run(command, env=environment, input="n\n", capture_output=True, text=True, check=False)
    assert unconfirmed.returncode == 1
    done = subprocess.run([*command, "--yes"], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"deleted": 1}
    with served(settings) as url:
        assert httpx2.get(f"{url}/jobs").status_code == 200


FORWARDED = (
    {"Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
    {"X-Client-IP": "127.0.0.1"},
    {"CF-Connecting-IP": "127.0.0.1"},
)


def test_a_forwarded_request_is_not_local(settings: Settings) -> None:
    with served(settings) as url:
        assert httpx2.get(f"{url}/jobs").status_code == 200
        for headers in FORWARDED:
            answer = httpx2.get(f"{url}/jobs", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), headers
            assert "TTM_TRUSTED_PROXIES" in answer.json()["detail"], headers


def test_a_trusted_proxy_names_the_client(settings: Settings) -> None:
    trusting = settings.model_copy(update={"trusted_proxies": ("127.0.0.1",)})
    with served(trusting) as url:
        for client, status in (("127.0.0.1", 200), ("10.1.2.3", 401), ("127.0.0.1, 203.0.113.9", 401), ("", 401)):
            answer = httpx2.get(f"{url}/jobs", headers={"X-Forwarded-For": client, "X-Forwarded-Proto": "https"})
            assert answer.status_code == status, client
    with served(settings.model_copy(update={"trusted_proxies": ("10.0.0.1",)})) as url:
        assert httpx2.get(f"{url}/jobs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def exchange(url: str, head: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Sends raw bytes and returns the status and everything until the server closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head + b"\r\n\r\n" + body)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def test_malformed_headers_are_refused_and_logged_as_no_error(settings: Settings, engine: Engine) -> None:
    _, secret = add_key(engine)
    key = f"Authorization: Bearer {secret}\r\n".encode()
    local = b"Host: 127.0.0.1\r\nConnection: close\r\n"
    with served(settings) as url:
        for name, head, status in (
            ("an origin that is no URL", b"POST /jobs HTTP/1.1\r\n%s%sOrigin: http://[" % (local, key), 403),
            ("credentials of bytes", b"GET /jobs HTTP/1.1\r\n%sAuthorization: Basic \xc3\xa9" % local, 401),
            ("brackets", b"GET /jobs HTTP/1.1\r\nConnection: close\r\n%sHost: ]]127.0.0.1[[:9" % key, 421),
            ("half a bracket", b"GET /jobs HTTP/1.1\r\nConnection: close\r\n%sHost: [::1" % key, 421),
            ("a port that is none", b"GET /jobs HTTP/1.1\r\nConnection: close\r\n%sHost: 127.0.0.1:" % key, 421),
        ):
            assert exchange(url, head)[0] == status, name
        # Without Connection: close, the server must close the connection.
        status, answer = exchange(
            url,
            b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: 5\r\nTransfer-Encoding: chunked" % key,
            b"0\r\n\r\nGET /keys HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        )
        assert (status, answer.count(b"HTTP/1.1")) == (400, 1)
        assert b"ambiguous_length" in answer


def test_a_key_outweighs_a_signature(settings: Settings, engine: Engine) -> None:
    _, secret = add_key(engine)
    with served(settings) as url:
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx2.get(f"{url}/jobs?tag=signature=", headers=headers).status_code == 200
        assert httpx2.get(f"{url}/jobs?signature=0", headers=headers).status_code in (200, 422)
        assert httpx2.get(f"{url}/jobs?signature=0").status_code == 401


def test_head_answers_wherever_get_does(settings: Settings) -> None:
    with served(settings) as url:
        # Creating the document takes seconds on a busy machine.
        document = httpx2.get(f"{url}/openapi.json", timeout=60).json()
        for path in [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]:
            # Not read to its end: an event stream has none.
            with httpx2.stream("GET", url + path, timeout=60) as get:
                pass
            address = urlsplit(url)
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
            connection.request("HEAD", path)
            head = connection.getresponse()
            assert head.status == get.status_code, path
            assert head.headers["content-type"] == get.headers["content-type"]
            assert head.read() == b""
            # The same connection answers again: no byte of a body was sent.
            connection.request("GET", "/healthz")
            assert json.loads(connection.getresponse().read()) == {"status": "ok"}
            connection.close()
