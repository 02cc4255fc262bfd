"""The pages of real runs: layout, accessibility, and the screenshots in the docs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cli.stack.stack import Stack, StackOptions
from tests.browser.real_runs import Runs, create_runs
from tests.browser.test_pages import CHECKS, ROOT, accessibility_violations
from ttm_client import Client

# Screenshots in the docs; `make screenshots` updates them.
DOCS_SCREENSHOTS = {"compare-1280-light", "job-1280-dark", "study-1280-light", "damage-1280-light"}
# Screenshots for the docs show one screen, to keep them small; that of a study begins with three sections.
HEIGHTS = {"study": 1450}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Runs]]:
    """The URL of a complete service with real workers, and the ids of its runs."""
    data = tmp_path_factory.mktemp("data")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
    options = StackOptions(
        var=tmp_path_factory.mktemp("var"), port=0, workers=2, data_roots=(data,), environment=environment
    )
    with Stack(options) as stack, Client(stack.url) as client:
        runs = create_runs(client, data)
        yield stack.url, runs
        client.jobs.cancel(runs.running)


def addresses(runs: Runs) -> dict[str, str]:
    student = runs.students[1]
    return {
        "home": "/",
        "jobs": "/ui/jobs",
        "grouped jobs": "/ui/jobs?group=tag",
        "job": f"/ui/jobs/{student}#metrics",
        "try": f"/ui/jobs/{student}#try",
        "speed": f"/ui/jobs/{student}#speed",
        "damage": f"/ui/jobs/{student}/damage",
        "failed": f"/ui/jobs/{runs.failed}",
        "running": f"/ui/jobs/{runs.running}",
        "compare": "/ui/compare?" + "&".join(f"job={job}" for job in runs.students),
        "studies": "/ui/studies",
        "study": f"/ui/studies/{runs.study}",
        "workers": "/ui/workers",
        "teachers": "/ui/teachers",
        "datasets": "/ui/datasets",
        "stores": "/ui/stores",
        "devices": "/ui/devices",
        "audit": "/ui/audit",
    }


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_of_real_runs_are_accessible_and_fit_the_viewport(
    page: Page, real: tuple[str, Runs], tmp_path: Path, width: int, scheme: str
) -> None:
    url, runs = real
    page.emulate_media(color_scheme=scheme)
    found = {}
    for name, address in addresses(runs).items():
        page.set_viewport_size({"width": width, "height": HEIGHTS.get(name, 900)})
        page.goto(url + address)
        if name == "job":
            expect(page.locator('[data-chart="accuracy"] polyline')).not_to_have_count(0)
        elif name == "compare":
            expect(page.locator('[data-chart="overlay"] polyline')).to_have_count(len(runs.students))
        elif name == "study":
            expect(page.locator("[data-parallel] polyline")).not_to_have_count(0)
        found[name] = page.evaluate(CHECKS) + accessibility_violations(page, name)
        title = f"{name}-{width}-{scheme}"
        kept = "TTM_SCREENSHOTS" in os.environ and title in DOCS_SCREENSHOTS
        folder = ROOT / os.environ["TTM_SCREENSHOTS"] if kept else tmp_path
        page.screenshot(path=folder / f"{title}.png", full_page=not kept)
    assert found == {name: [] for name in found}
