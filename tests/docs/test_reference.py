"""Pages that are made from the code are as the code makes them, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from cli import reference as commands
from ttm_client.codegen import make_synchronous, reference
from ttm_jobs import settings_reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_current():
    assert (ROOT / "docs/reference/settings.md").read_text() == settings_reference.render()


def test_the_page_of_the_command_line_is_current():
    assert (ROOT / "docs/reference/cli.md").read_text() == commands.render()


def test_the_page_of_the_client_is_current():
    assert (ROOT / "docs/reference/sdk.md").read_text() == reference.render()


def test_the_client_for_threads_is_current():
    made = dict(make_synchronous.rendered())
    assert {path: path.read_text() for path in made} == made
    assert set((ROOT / "ttm_client/synchronous").rglob("*.py")) == set(made)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
