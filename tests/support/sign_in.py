"""An API with single sign-on at the test's provider, and the steps of a browser that signs in."""

from typing import Any

import httpx2
from fastapi.testclient import TestClient

from tests.support.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from ttm_jobs.settings import GroupAccess, Settings

GROUPS = {
    "ml-team": GroupAccess(project="vision"),
    "ml-leads": GroupAccess(project="vision", scope="admin"),
    "audio-readers": GroupAccess(project="audio", scope="read"),
}
PEOPLE = {
    "ana-1": {"email": "ana@example.com", "name": "Ana", "groups": ["ml-team", "everyone"]},
    "lea-2": {"email": "lea@example.com", "groups": ["audio-readers", "ml-leads", "ml-team"]},
    "rui-3": {"email": "rui@example.com", "groups": "audio-readers"},
    "eve-4": {"email": "eve@example.com", "groups": ["everyone"]},
}


def with_sign_on(settings: Settings, provider: OpenIdProvider, **changes: Any) -> Settings:
    """The settings with single sign-on at the provider, which gets the people above."""
    provider.people = {subject: dict(claims) for subject, claims in PEOPLE.items()}
    update = {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "group_access": GROUPS,
        # The provider is a process of a busy machine.
        "oidc_timeout_seconds": 60.0,
    }
    return settings.model_copy(update=update | changes)


def start(client: TestClient, path: str = "/") -> httpx2.Response:
    """Follows the link of the sign-in page."""
    return client.get("/sign-in/start", params={"next": path}, follow_redirects=False)


def approve(provider: OpenIdProvider, started: httpx2.Response, subject: str = "ana-1") -> str:
    """Signs in at the provider. Returns the address to which it redirects."""
    provider.subject = subject
    answer = httpx2.post(started.headers["location"])
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def sign_in(client: TestClient, provider: OpenIdProvider, subject: str = "ana-1", path: str = "/") -> httpx2.Response:
    """The service's answer to a completed sign-in."""
    return client.get(approve(provider, start(client, path), subject), follow_redirects=False)
