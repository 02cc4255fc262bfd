"""Generated pages are current, and local links resolve."""

import re
from pathlib import Path

import pytest

from cli import reference as commands
from ttm_client.codegen import make_synchronous, reference
from ttm_jobs import settings_reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_settings_page_is_current():
    assert (ROOT / "docs/reference/settings.md").read_text() == settings_reference.render()


def test_cli_page_is_current():
    assert (ROOT / "docs/reference/cli.md").read_text() == commands.render()


def test_sdk_page_is_current():
    assert (ROOT / "docs/reference/sdk.md").read_text() == reference.render()


def test_synchronous_client_is_current():
    made = dict(make_synchronous.rendered())
    assert {path: path.read_text() for path in made} == made
    assert set((ROOT / "ttm_client/synchronous").rglob("*.py")) == set(made)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_resolve(page: Path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_path_in_the_architecture_page_exists():
    page = (ROOT / "docs/architecture.md").read_text()
    paths = re.findall(r"`((?:api|worker|cli|ttm_client|ttm_jobs|ttm_core|migrations)/[\w/.]*)`", page)
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_readme_fits_on_a_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
