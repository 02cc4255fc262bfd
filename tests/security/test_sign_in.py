"""Forged, expired, replayed and foreign sign-ins, and a provider that misbehaves."""

import base64
import hmac
import html
import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient
from flask import Response
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from api.app import create_app
from tests.api.conftest import make_settings
from tests.api.test_access import bearer, make_key
from tests.support.openid_provider import CLIENT_SECRET, Claims, OpenIdProvider, openid_provider, respond
from tests.support.sign_in import PEOPLE, approve, sign_in, start, with_sign_on
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings

# A hang guard: ten times the default limit on an answer of the provider.
GUARD_SECONDS = 50.0


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as provider:
        provider.redirect_uris = {"http://testserver/sign-in/callback"}
        yield provider


@pytest.fixture(scope="module")
def shared_settings(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, shared_provider: OpenIdProvider
) -> Settings:
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, folder / "ttm.db")
    return with_sign_on(make_settings(f"sqlite:///{folder / 'ttm.db'}", folder), shared_provider)


@pytest.fixture(scope="module")
def shared_client(shared_settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(shared_settings)) as client:
        yield client


@pytest.fixture
def provider(shared_provider: OpenIdProvider) -> OpenIdProvider:
    """The provider, which behaves."""
    shared_provider.behave()
    shared_provider.people = {subject: dict(claims) for subject, claims in PEOPLE.items()}
    return shared_provider


@pytest.fixture
def settings(shared_settings: Settings, provider: OpenIdProvider) -> Settings:
    return shared_settings


@pytest.fixture
def client(shared_client: TestClient, provider: OpenIdProvider) -> TestClient:
    """A browser without cookies."""
    shared_client.cookies.clear()
    return shared_client


@pytest.fixture
def new_client(settings: Settings) -> Iterator[TestClient]:
    """A service that has not reached the provider yet."""
    with TestClient(create_app(settings)) as client:
        yield client


def is_refused(client: TestClient, answer: Any) -> None:
    """The answer is the sign-in page with an error, and no session exists."""
    assert answer.status_code == 400, answer.text
    assert 'role="alert">' in answer.text
    assert "Sign in with single sign-on" in answer.text
    assert "ttm_session" not in str(answer.headers.get_list("set-cookie"))
    assert client.get("/jobs").status_code == 401


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def with_claims(provider: OpenIdProvider, **changes: Any) -> Callable[[Claims], str]:
    """Signs with the provider's key, but changes claims; None removes one."""

    def encode(claims: Claims) -> str:
        changed = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "first"}, changed, provider.key)

    return encode


def forged(provider: OpenIdProvider, how: str) -> Callable[[Claims], str]:
    """Tokens that the provider did not sign."""
    public = provider.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def encode(claims: Claims) -> str:
        token = jwt.encode({"alg": "RS256", "kid": "first"}, claims, provider.key)
        header, payload, signature = token.split(".")
        match how:
            case "other key with the same id":
                return jwt.encode({"alg": "RS256", "kid": "first"}, claims, provider.other_key)
            case "unknown key":
                return jwt.encode({"alg": "RS256", "kid": "second"}, claims, provider.other_key)
            case "key in the header":
                jwk = provider.other_key.as_dict(private=False)
                return jwt.encode({"alg": "RS256", "jwk": jwk}, claims, provider.other_key)
            case "alg none":
                return f"{encoded({'alg': 'none', 'kid': 'first'})}.{payload}."
            case "HS256 with the public key":
                signed = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{payload}"
                digest = hmac.new(public, signed.encode(), sha256).digest()
                return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
            case "HS256 with the client secret":
                return jwt.encode({"alg": "HS256", "kid": "first"}, claims, OctKey.import_key(CLIENT_SECRET))
            case "changed claims":
                return f"{header}.{encoded({**claims, 'sub': 'lea-2'})}.{signature}"
            case "no signature":
                return f"{header}.{payload}."
            case _:
                return how

    return encode


@pytest.mark.parametrize(
    "how",
    [
        "other key with the same id",
        "unknown key",
        "key in the header",
        "alg none",
        "HS256 with the public key",
        "HS256 with the client secret",
        "changed claims",
        "no signature",
        "not a token",
        "",
        "a.b.c",
        "a." * 40_000,
    ],
)
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_forged_tokens_are_refused(client: TestClient, provider: OpenIdProvider, how: str) -> None:
    provider.encode = forged(provider, how)
    is_refused(client, sign_in(client, provider))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": timedelta(minutes=-2)},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": timedelta(hours=1)},
        {"iat": None},
        {"nbf": timedelta(hours=1)},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["another-client", "third"]},
        {"aud": ["dashboard", "another-client"]},
        {"aud": ["dashboard", "another-client"], "azp": "another-client"},
        {"aud": None},
        {"aud": {"dashboard": 1}},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"nonce": ["x"]},
        {"at_hash": "of another token"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\nb"},
        {"sub": 7},
    ],
    ids=str,
)
def test_foreign_expired_and_malformed_claims_are_refused(
    client: TestClient, provider: OpenIdProvider, changes: dict[str, Any]
) -> None:
    # Times are relative to the start of the test, so that all processes collect the same names.
    now = int(time.time())
    claims = {
        name: now + int(value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }
    provider.encode = with_claims(provider, **claims)
    is_refused(client, sign_in(client, provider))


def test_a_symmetric_key_in_the_key_set_is_ignored(client: TestClient, provider: OpenIdProvider) -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    provider.keys = KeySet([shared, provider.key])
    provider.encode = lambda claims: jwt.encode({"alg": "HS256", "kid": "shared"}, claims, shared)
    is_refused(client, sign_in(client, provider))


def test_unknown_keys_cause_no_flood_of_requests(new_client: TestClient, provider: OpenIdProvider) -> None:
    assert sign_in(new_client, provider).status_code == 303
    provider.keys = KeySet([provider.other_key])
    provider.encode = forged(provider, "unknown key")
    for _ in range(3):
        assert sign_in(new_client, provider).status_code == 400
    # The keys are less than ten seconds old.
    assert provider.requests.count("/keys") == 1


def test_a_code_and_a_state_are_accepted_once(client: TestClient, provider: OpenIdProvider) -> None:
    started = start(client)
    cookie = {"Cookie": f"ttm_sign_in={client.cookies['ttm_sign_in']}"}
    address = approve(provider, started)
    code = parse_qs(urlsplit(address).query)["code"][0]
    replayable = provider.codes[code]
    assert client.get(address, follow_redirects=False).status_code == 303
    client.cookies.clear()
    # The provider refuses the code,
    is_refused(client, client.get(address, headers=cookie, follow_redirects=False))
    # and if it did not, the state is used.
    provider.codes[code] = replayable
    answer = client.get(address, headers=cookie, follow_redirects=False)
    is_refused(client, answer)
    assert "already completed" in answer.text


def test_a_sign_in_belongs_to_its_browser(client: TestClient, provider: OpenIdProvider, settings: Settings) -> None:
    address = approve(provider, start(client))
    cookie = client.cookies["ttm_sign_in"]
    client.cookies.clear()
    # Another person's browser, which an attacker leads to the attacker's session.
    is_refused(client, client.get(address, follow_redirects=False))
    start(client)
    is_refused(client, client.get(address, follow_redirects=False))
    header, payload, signature = cookie.split(".")
    state = parse_qs(urlsplit(address).query)["state"][0]
    claims = {"state": state, "path": "//evil.example", "exp": int(time.time()) + 60}
    for forgery in (
        f"{header}.{encoded(claims)}.{signature}",
        f"{encoded({'alg': 'none'})}.{payload}.",
        jwt.encode({"alg": "HS256"}, claims, OctKey.import_key("guessed")),
        "x" * 4000,
        "",
    ):
        client.cookies.clear()
        answer = client.get(address, headers={"Cookie": f"ttm_sign_in={forgery}"}, follow_redirects=False)
        is_refused(client, answer)
    for query in ("", "?state=x", "?code=x", "?error=access_denied", "?error=<script>alert(1)</script>&state=x"):
        answer = client.get(f"/sign-in/callback{query}", follow_redirects=False)
        is_refused(client, answer)
        assert "<script>alert" not in answer.text
    assert client.get("/sign-in/callback", params={"state": "x" * 5000, "code": "y"}).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/%0a/evil".replace("%0a", "\n"),
        "javascript:alert(1)",
        "@evil.example",
        "evil.example",
        "",
        "/" + "x" * 3000,
        "/é",
    ],
    ids=repr,
)
def test_a_sign_in_leads_nowhere_else(client: TestClient, provider: OpenIdProvider, path: str) -> None:
    assert 'data-next="/"' in client.get("/sign-in", params={"next": path}).text
    assert sign_in(client, provider, path=path).headers["location"] == "/"


def test_oversized_cookies_and_claims(client: TestClient, provider: OpenIdProvider) -> None:
    provider.people["ana-1"] |= {
        "email": "a" * 500,
        "groups": [*(f"group {number} {'x' * 40}" for number in range(700)), "ml-team"],
    }
    assert sign_in(client, provider).status_code == 303
    shown = client.get("/ui/jobs").text
    assert "a" * 100 in shown
    assert "a" * 101 not in shown
    provider.people["ana-1"]["groups"] = ["ml-team", "x" * 70_000]
    client.cookies.clear()
    is_refused(client, sign_in(client, provider))
    for cookie in ("ttm_session=" + "x" * 8000, "ttm_session=\x01", "ttm_session", "; " * 500 + "ttm_session=é"):
        answer = client.get("/jobs", headers=[(b"cookie", cookie.encode())])
        assert answer.status_code == 401, cookie


@pytest.mark.parametrize("name", ["email", "preferred_username", "name"])
def test_hostile_names_stay_text(client: TestClient, provider: OpenIdProvider, name: str) -> None:
    provider.people["ana-1"] = {name: '<img src=x onerror="alert(1)">', "groups": ["ml-team"]}
    sign_in(client, provider)
    shown = client.get("/ui/jobs").text
    assert "&lt;img src=x" in shown
    assert "<img src=x" not in shown


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Callable[[str], Response]:
    return lambda path: Response(body, status, headers=headers)


FAULTS = {
    "500": respond(500),
    "slow": respond(200, seconds=2),
    "HTML": respond(200),
    "redirect": answer(302, {"Location": "http://127.0.0.1:1/"}),
    "huge": answer(200, None, b"{" + b" " * (2 << 20)),
    "compressed": answer(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
    "a list": answer(200, None, b"[]"),
    "deep": answer(200, None, b"[" * 100_000),
}
DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        pytest.param(
            at,
            fault,
            marks=() if at == DISCOVERY or fault in ("500", "slow") else pytest.mark.thorough,
            id=f"{at} {fault}",
        )
        for at in (DISCOVERY, "/token", "/keys")
        for fault in FAULTS
    ],
)
def test_a_provider_that_fails(settings: Settings, provider: OpenIdProvider, fault: str, at: str) -> None:
    engine = create_engine(settings.database_url)
    key = bearer(make_key(engine))
    engine.dispose()
    if fault == "slow":
        settings = settings.model_copy(update={"oidc_timeout_seconds": 1.0})
    with TestClient(create_app(settings)) as client:
        started = None if at == DISCOVERY else start(client)
        provider.before = lambda path: FAULTS[fault](path) if path == at else None
        began = time.monotonic()
        shown = start(client) if started is None else client.get(approve(provider, started), follow_redirects=False)
        assert time.monotonic() - began < GUARD_SECONDS
        assert shown.status_code == 503, shown.text
        message = html.unescape(shown.text)
        assert "identity provider" in message or "provider's" in message
        assert "API key" in message
        # The service and its keys go on.
        assert client.get("/jobs", headers=key).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_provider_that_is_down(settings: Settings) -> None:
    down = settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:1"})
    with TestClient(create_app(down)) as client:
        answer = start(client)
        assert answer.status_code == 503
        assert "did not answer" in answer.text


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "issuer"])
@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1:1/x",
        *(
            pytest.param(each, marks=pytest.mark.thorough)
            for each in ("file:///etc/passwd", "javascript:1", "", None, 7)
        ),
    ],
)
def test_a_discovery_document_that_leads_elsewhere(
    new_client: TestClient, provider: OpenIdProvider, name: str, value: Any
) -> None:
    provider.discovery = {name: value}
    assert start(new_client).status_code == 503


def test_the_api_connects_to_the_issuer_and_listed_hosts_only(
    new_client: TestClient, settings: Settings, provider: OpenIdProvider
) -> None:
    with openid_provider() as other:
        provider.discovery = {"jwks_uri": f"{other.url}/keys", "end_session_endpoint": f"{other.url}/end-session"}
        assert start(new_client).status_code == 503
        assert other.requests == []
        allowed = settings.model_copy(update={"oidc_hosts": (other.url,)})
        with TestClient(create_app(allowed)) as trusting:
            assert sign_in(trusting, provider).status_code == 303
        assert other.requests == ["/keys"]


def test_the_discovery_document_and_keys_are_cached(new_client: TestClient, provider: OpenIdProvider) -> None:
    for _ in range(3):
        assert sign_in(new_client, provider).status_code == 303
    assert provider.requests.count("/.well-known/openid-configuration") == 1
    assert provider.requests.count("/keys") == 1
    # Their failure no longer matters, except for the token.
    provider.before = lambda path: None if path in ("/token", "/authorize") else respond(500)(path)
    assert sign_in(new_client, provider).status_code == 303
