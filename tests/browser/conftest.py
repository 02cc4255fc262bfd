"""Tests in a real browser. A test fails if a page logs an error or warning, which includes violations of the content
security policy.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from cli.stack.stack import Stack, StackOptions
from tests.browser.gallery import Gallery, create_gallery
from tests.support.api_server import served
from tests.support.chromium import CHROMIUM, FLAGS
from tests.support.tiny import wait_until
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

# Playwright's default of 5 s is too short on a busy machine.
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(
            "No browser found, so the dashboard is not tested. Run `make browser-setup` to install Chromium, or set TTM_CHROMIUM."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def console_errors(context: BrowserContext) -> Iterator[list[str]]:
    """Errors and warnings on the pages' consoles. A test that expects some clears the list; it must be empty at the end."""
    console_errors: list[str] = []

    def keep(message: ConsoleMessage) -> None:
        # The forms validate what is filled in so far, which may be incomplete.
        preview = "422" in message.text and message.location["url"].endswith("/validate")
        if message.type in ("error", "warning") and not preview:
            console_errors.append(message.text)

    context.on("console", keep)
    context.on("weberror", lambda error: console_errors.append(str(error.error)))
    yield console_errors
    assert not console_errors


def clear_expected(page: Page, console_errors: list[str]) -> None:
    """Clears the errors that a test expects, after at least one has arrived."""
    wait_until(lambda: page.wait_for_timeout(20) or console_errors)
    console_errors.clear()


@pytest.fixture
def page(context: BrowserContext, console_errors: list[str]) -> Page:
    return context.new_page()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An allowed data folder."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Stack]:
    """API, dispatcher, broker, database, and a worker with a fake trainer."""
    options = StackOptions(
        var=tmp_path_factory.mktemp("var"),
        port=0,
        data_roots=(data,),
        worker_command=(sys.executable, "-m", "tests.support.tiny_worker"),
        environment={name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
        | {"TTM_LOG_UPLOAD_SECONDS": "0.3"},
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture(scope="session")
def gallery(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """An API without workers, with jobs in each state that the pages show."""
    folder = tmp_path_factory.mktemp("gallery")
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'ttm.db'}",
        storage_url=f"file:{folder / 'storage'}",
        broker_url="redis://127.0.0.1:1/0",
        worker_timeout_seconds=24 * 3600,  # its worker sends no heartbeats
    )
    engine = create_engine(settings.database_url)
    jobs = create_gallery(engine, build_storage(settings.storage_url))
    with served(settings) as url:
        yield Gallery(url, jobs, engine)
    engine.dispose()
