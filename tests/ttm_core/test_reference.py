"""Generated reference pages are up to date and complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from ttm_core import reference
from ttm_core.spec import recipes


@pytest.mark.parametrize("name", reference.PAGES)
def test_pages_are_not_stale(name):
    """If this fails, run `python -m ttm_core.reference`."""
    assert (reference.DOCS / name).read_text(encoding="utf-8") == reference.PAGES[name]()


def test_command_writes_the_pages_without_torch(tmp_path: Path):
    code = (
        "import sys, pathlib; from ttm_core.reference import main; main(pathlib.Path(sys.argv[1]));"
        "assert not {'torch', 'timm', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"methods.md", "recipes.md"}


def test_pages_list_every_recipe_and_requirement():
    assert all(f"| `{name}` |" in reference.recipes_page() for name in recipes.names())
    for row in (
        "| wttm | yes | yes | none | yes | yes | yes |",
        "| dkd | yes | yes | none | yes | no | yes |",
        "| vitkd | no | yes | tokens | no | yes | no |",
    ):
        assert row in reference.methods_page()
