"""The pages of studies: layout, accessibility, and the chart."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import CHECKS, accessibility_violations
from tests.support.api_server import served
from tests.support.studies import advance, create_study, study_of
from tests.support.study_jobs import end_jobs
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings
from ttm_jobs.studies.states import ENDED


@pytest.fixture(scope="module")
def study(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of an API, and the id of a study that has succeeded."""
    folder = tmp_path_factory.mktemp("studies")
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'ttm.db'}",
        storage_url=f"file:{folder / 'storage'}",
        broker_url="redis://127.0.0.1:1/0",
    )
    engine = create_engine(settings.database_url)
    study_id = create_study(
        engine,
        name="flowers on the kiosk",
        limits={"retention": 0.5, "bytes": 1_500_000},
        students=["cifar/resnet8", "cifar/resnet20", "cifar/resnet32", "cifar/resnet56", "cifar/resnet110"],
    )
    while study_of(engine, study_id).state not in ENDED:
        advance(engine)
        end_jobs(engine, study_id)
    with served(settings) as url:
        yield url, study_id
    engine.dispose()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_study_pages_are_accessible_and_fit_the_viewport(
    page: Page, study: tuple[str, str], tmp_path: Path, width: int, scheme: str
) -> None:
    url, study_id = study
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for address in ("/ui/studies", f"/ui/studies/{study_id}"):
        page.goto(url + address)
        if study_id in address:
            # One dot per trained candidate; the fifth is too large.
            expect(page.locator("[data-scatter] circle.dot")).to_have_count(4)
            page.locator("[data-cost]").select_option("latency")
            expect(page.locator("[data-scatter] svg")).to_have_attribute(
                "aria-label", re.compile("Top-1 against latency")
            )
        assert page.evaluate(CHECKS) == [], address
        assert accessibility_violations(page, address) == [], address
        page.screenshot(path=tmp_path / f"{address.rpartition('/')[2]}-{width}.png", full_page=True)
