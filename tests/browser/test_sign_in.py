"""Single sign-on in a real browser: sign in, see the project's jobs, change one, sign out."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.api.test_access import make_key
from tests.browser.conftest import clear_expected
from tests.browser.test_pages import CHECKS, ROOT, accessibility_violations
from tests.support.api_server import served
from tests.support.factories import queued
from tests.support.openid_provider import OpenIdProvider, openid_provider
from tests.support.sign_in import with_sign_on
from ttm_jobs.database.engine import create_engine
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings

DOCS_SCREENSHOT = "sign-in-1280-light"


@dataclass
class Service:
    url: str
    settings: Settings
    provider: OpenIdProvider
    job_id: str
    key: str
    read_key: str


@pytest.fixture(scope="module")
def service(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sign-in")
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = Settings(database_url=f"sqlite:///{folder / 'ttm.db'}", storage_url=f"file:{folder / 'storage'}")
    engine = create_engine(settings.database_url)
    job_id = queued(bound_to(engine, "vision"), name="flowers")
    queued(bound_to(engine, "audio"), name="birds")
    queued(bound_to(engine, "audio"), name="frogs")
    key, read_key = make_key(engine, "audio"), make_key(engine, "audio", Scope.READ)
    with openid_provider() as provider:
        settings = with_sign_on(settings, provider)
        with served(settings) as url:
            provider.redirect_uris = {f"{url}/sign-in/callback"}
            yield Service(url, settings, provider, job_id, key, read_key)
    engine.dispose()


def test_sign_in_see_jobs_sign_out(page: Page, service: Service, console_errors: list[str]) -> None:
    service.provider.subject = "lea-2"
    page.goto(f"{service.url}/ui/jobs?state=queued")
    expect(page.get_by_role("heading", name="Sign in to TTM")).to_be_visible()
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.get_by_role("button", name="Continue as lea-2").click()
    expect(page.get_by_role("link", name="flowers")).to_be_visible()
    expect(page).to_have_url(f"{service.url}/ui/jobs?state=queued")
    expect(page.locator(".session")).to_contain_text("lea@example.com")
    assert page.evaluate("document.cookie") == ""

    # A change, which a page of another origin cannot make.
    page.goto(f"{service.url}/ui/jobs/{service.job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state").first).to_contain_text("cancelled")
    page.goto(f"{service.url}/ui/audit")
    expect(page.get_by_role("row").nth(1)).to_contain_text("jobs_cancel")
    expect(page.get_by_role("row").nth(1)).to_contain_text("lea@example.com")

    page.get_by_label("Project").select_option("audio")
    expect(page).to_have_url(f"{service.url}/")
    page.goto(f"{service.url}/ui/jobs")
    expect(page.get_by_role("link", name="birds")).to_be_visible()
    expect(page.get_by_role("link", name="flowers")).to_have_count(0)

    page.get_by_role("button", name="Sign out").click()
    # By way of the provider, whose session ends, too.
    expect(page).to_have_url(f"{service.url}/sign-in")
    assert "/end-session" in service.provider.requests
    page.goto(f"{service.url}/ui/jobs")
    expect(page.get_by_role("heading", name="Sign in to TTM")).to_be_visible()


def test_sign_in_with_a_key_and_notice_that_the_session_ended(
    page: Page, service: Service, console_errors: list[str]
) -> None:
    page.goto(f"{service.url}/ui/jobs")
    page.get_by_label("API key").fill("ttm_00000000_wrong")
    page.get_by_role("button", name="Sign in with the key").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    clear_expected(page, console_errors)
    page.get_by_label("API key").fill(service.key)
    page.get_by_role("button", name="Sign in with the key").click()
    expect(page.get_by_role("link", name="birds")).to_be_visible()
    page.context.clear_cookies()
    notice = page.locator("#signed-out")
    expect(notice).to_be_visible()
    notice.get_by_role("link").click()
    expect(page).to_have_url(f"{service.url}/sign-in?next=%2Fui%2Fjobs")
    clear_expected(page, console_errors)


def sign_in(page: Page, service: Service, path: str) -> None:
    """Opens a page of the project `vision`."""
    service.provider.subject = "lea-2"
    page.goto(service.url + path)
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.get_by_role("button", name="Continue as lea-2").click()
    expect(page.get_by_label("Project")).to_have_value("vision")


def test_form_survives_the_end_of_its_session(
    page: Page, service: Service, console_errors: list[str], tmp_path: Path
) -> None:
    sign_in(page, service, "/ui/new")
    page.get_by_label("Student", exact=True).fill("resnet18")
    page.context.clear_cookies()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_have_text("Your session has ended. Sign in again, then repeat this.")
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(b"x")
    page.get_by_label("File for teacher").set_input_files(teacher)
    expect(page.locator("[data-upload]").first).to_contain_text("Your session has ended.")
    with page.context.expect_page() as opened:
        page.locator("#signed-out").get_by_role("link").click()
    sign_in(opened.value, service, "/")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("Correct the highlighted fields.")
    expect(page.locator("#signed-out")).to_be_hidden()
    expect(page.get_by_label("Student", exact=True)).to_have_value("resnet18")
    clear_expected(page, console_errors)  # of the refused requests


def test_project_selected_in_another_tab_changes_nothing_here(page: Page, service: Service) -> None:
    """The session has one project: a form would submit to the other one."""
    sign_in(page, service, "/ui/new")
    page.get_by_label("Student", exact=True).fill("resnet18")
    other = page.context.new_page()
    other.goto(f"{service.url}/ui/jobs")
    other.get_by_label("Project").select_option("audio")
    expect(other).to_have_url(f"{service.url}/")
    notice = page.locator("#other-project")
    expect(notice).to_contain_text("Another tab has selected the project audio. This page shows vision.")
    assert page.locator("main").evaluate("main => main.inert")
    notice.get_by_role("button", name="Select vision again").click()
    expect(notice).to_be_hidden()
    expect(other.locator("#other-project")).to_contain_text("This page shows audio.")
    assert not page.locator("main").evaluate("main => main.inert")
    expect(page.get_by_label("Student", exact=True)).to_have_value("resnet18")


def test_a_reader_compares_jobs_and_is_offered_no_changes(
    page: Page, service: Service, console_errors: list[str]
) -> None:
    page.goto(f"{service.url}/ui/jobs")
    page.get_by_label("API key").fill(service.read_key)
    page.get_by_role("button", name="Sign in with the key").click()
    for name in ("birds", "frogs"):
        page.get_by_label(f"Select {name}", exact=True).check()
    expect(page.get_by_role("link", name="Compare", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel jobs")).to_have_count(0)
    page.get_by_role("link", name="birds").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("birds")
    with page.expect_response(lambda response: response.url.endswith(page.url.rpartition("/")[2])):
        pass  # The page has updated itself.
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_text("Edit name and tags")).to_have_count(0)
    page.goto(f"{service.url}/ui/new")
    expect(page.get_by_role("heading", level=1)).to_have_text("No access")
    clear_expected(page, console_errors)  # of the refused page


def test_a_provider_that_is_down_is_shown(page: Page, service: Service, console_errors: list[str]) -> None:
    down = service.settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:1"})
    with served(down) as url:
        page.goto(f"{url}/sign-in")
        page.get_by_role("link", name="Sign in with single sign-on").click()
        expect(page.get_by_role("alert")).to_contain_text("did not answer")
        expect(page.get_by_label("API key")).to_be_enabled()
    clear_expected(page, console_errors)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_the_viewport(
    page: Page, service: Service, tmp_path: Path, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900 if width == 390 else 640})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{service.url}/sign-in")
    expect(page.get_by_role("button", name="Sign in with the key")).to_be_enabled()
    assert page.evaluate(CHECKS) + accessibility_violations(page, "sign-in") == []
    title = f"sign-in-{width}-{scheme}"
    kept = "TTM_SCREENSHOTS" in os.environ and title == DOCS_SCREENSHOT
    page.screenshot(path=(ROOT / os.environ["TTM_SCREENSHOTS"] if kept else tmp_path) / f"{title}.png")
