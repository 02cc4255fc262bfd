"""People whom a proxy such as oauth2-proxy names. Nobody else may name them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.conftest import make_settings
from tests.api.test_access import bearer, make_key
from tests.support.api_server import served
from tests.support.factories import queued
from tests.support.sign_in import GROUPS
from ttm_jobs.database.engine import create_engine
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.settings import Settings

# What oauth2-proxy adds, as its documentation lists it, next to the client's address.
ANA = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-User": "ana-1",
    "X-Forwarded-Email": "ana@example.com",
    "X-Forwarded-Groups": "everyone,ml-team",
}
BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture(scope="module")
def settings(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("proxy")
    shutil.copy(sqlite_template, folder / "ttm.db")
    update = {"proxy_identity": "x-forwarded", "trusted_proxies": ("127.0.0.1",), "group_access": GROUPS}
    return make_settings(f"sqlite:///{folder / 'ttm.db'}", folder).model_copy(update=update)


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with served(settings) as url:
        yield url


def with_prefix(headers: dict[str, str]) -> dict[str, str]:
    names = {"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"}
    return {
        name.replace("X-Forwarded", "X-Auth-Request") if name in names else name: value
        for name, value in headers.items()
    }


def test_a_person_sees_and_changes_the_project_of_the_group(url: str, settings: Settings) -> None:
    engine = create_engine(settings.database_url)
    mine, other = queued(bound_to(engine, "vision")), queued(bound_to(engine, "audio"))
    admin = bearer(make_key(engine, "vision"))
    engine.dispose()
    shown = httpx2.get(f"{url}/ui/jobs", headers=ANA | BROWSER).text
    assert "ana@example.com" in shown
    assert mine in shown
    assert other not in shown
    assert "sign-out" not in shown, "the proxy signs people out"
    assert httpx2.get(f"{url}/jobs/{other}", headers=ANA).status_code == 404
    assert httpx2.get(f"{url}/keys", headers=ANA).status_code == 403
    origin = {"Origin": url}
    assert httpx2.post(f"{url}/jobs/{mine}/cancel", headers=ANA | origin).is_success
    (entry,) = httpx2.get(f"{url}/audit", headers=admin, params={"actor": "ana-1"}).json()["items"]
    assert (entry["action"], entry["actor"], entry["address"]) == ("jobs_cancel", "ana@example.com", "203.0.113.9")
    # The proxy's cookie is added to requests of other pages, too.
    for foreign in ({}, {"Origin": "https://evil.example"}):
        refused = httpx2.post(f"{url}/jobs/{mine}/cancel", headers=ANA | foreign)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
    assert httpx2.get(f"{url}/keys", headers=ANA | admin).status_code == 200, "a key outweighs them"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-For": "203.0.113.9"},
        # Without X-Forwarded-For, the request does not come through the proxy.
        {name: value for name, value in ANA.items() if name != "X-Forwarded-For"},
        ANA | {"X-Forwarded-For": ""},
        ANA | {"X-Forwarded-User": ""},
        ANA | {"X-Forwarded-User": "x" * 256},
        with_prefix(ANA),
    ],
    ids=str,
)
def test_incomplete_and_other_headers_name_nobody(url: str, headers: dict[str, str]) -> None:
    assert httpx2.get(f"{url}/jobs", headers=headers).status_code == 401


def test_headers_that_occur_twice_name_nobody(url: str) -> None:
    for name, value in (("X-Forwarded-User", "lea-2"), ("X-Forwarded-Groups", "ml-leads")):
        answer = httpx2.get(f"{url}/jobs", headers=[*ANA.items(), (name, value)])
        assert answer.status_code in (401, 403), name


def test_people_in_no_mapped_group_see_why(url: str) -> None:
    for groups in ("", "everyone", "ml-team-2", "ML-TEAM", "[ml-team]", "ml-team;ml-leads"):
        headers = ANA | {"X-Forwarded-Groups": groups}
        refused = httpx2.get(f"{url}/jobs", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "no_access"), groups
        shown = httpx2.get(f"{url}/ui/jobs", headers=headers | BROWSER)
        assert shown.status_code == 403
        assert "<h1>No access</h1>" in shown.text
        assert "None of your groups gives access" in shown.text


def test_headers_of_anyone_else_are_ignored(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"trusted_proxies": ("10.0.0.1",)})
    with served(elsewhere) as url:
        for headers in (ANA, ANA | {"X-Forwarded-For": "10.0.0.1"}, ANA | {"Forwarded": "for=10.0.0.1"}):
            assert httpx2.get(f"{url}/jobs", headers=headers).status_code == 401
    off = settings.model_copy(update={"proxy_identity": None})
    with served(off) as url:
        assert httpx2.get(f"{url}/jobs", headers=ANA).status_code == 401


def test_the_other_set_of_headers(settings: Settings) -> None:
    with served(settings.model_copy(update={"proxy_identity": "x-auth-request"})) as url:
        assert httpx2.get(f"{url}/jobs", headers=with_prefix(ANA)).status_code == 200
        # A client may send those that this proxy does not remove.
        assert httpx2.get(f"{url}/jobs", headers=ANA).status_code == 401


def test_the_setting_needs_proxies_and_groups() -> None:
    for given in ({}, {"trusted_proxies": "127.0.0.1"}, {"group_access": GROUPS}):
        with pytest.raises(ValueError, match="proxy_identity requires"):
            Settings(proxy_identity="x-forwarded", **given)
