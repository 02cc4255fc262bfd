"""The documentation site: it builds without a broken link or anchor, loads nothing from other hosts, and has a search."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("mkdocs.yml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")


def build(folder: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site of a checkout as `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(to)],
        cwd=folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("site")
    built = build(ROOT, to)
    assert built.returncode == 0, built.stderr
    return to


def copy_of_the_sources(to: Path) -> Path:
    for name in SOURCES:
        shutil.copy(ROOT / name, to / name)
    shutil.copytree(ROOT / "docs", to / "docs")
    (to / "api/dashboard/static").mkdir(parents=True)
    shutil.copy(ROOT / "api/dashboard/static/icon.svg", to / "api/dashboard/static")
    return to


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    folder = copy_of_the_sources(tmp_path)
    tutorial = folder / "docs/tutorial.md"
    links = ("how-to/gone.md", "how-to/upgrade.md#missing")
    tutorial.write_text("\n\n".join([tutorial.read_text(), *(f"[text]({link})" for link in links)]))
    built = build(folder, tmp_path / "site")
    assert built.returncode != 0
    # Each is a warning, and `--strict` fails the build if there is one.
    for link in links:
        assert any("WARNING" in line and link in line for line in built.stderr.splitlines()), built.stderr


def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    expected = {page for page in pages if page.parts[0] != "results"}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert expected <= built
    assert {Path("index.html"), Path("changelog.html"), Path("contributing.html"), Path("reference/api.html")} <= built


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style


def test_every_operation_and_schema_has_an_entry(site: Path) -> None:
    document = json.loads((ROOT / "docs/reference/openapi.json").read_text())
    operations = [each for methods in document["paths"].values() for each in methods.values() if "summary" in each]
    assert operations
    text = unescape((site / "reference/api.html").read_text())
    for operation in operations:
        assert f">{operation['summary']}<" in text, operation["operationId"]
    for schema in document["components"]["schemas"]:
        assert f'id="{schema.lower()}"' in text, schema
