"""Adds pages to the documentation site that are made of other files: the README as its home page, the changelog, the
guide for contributors, and the reference of the REST API.
"""

import json
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# mkdocs loads a hook by its path, so that its folder is not on the path of modules.
sys.path.insert(0, str(Path(__file__).parent))

from api_reference import api_reference  # type: ignore[import-not-found]

_ROOT = Path(__file__).parents[2]
# Files of the checkout by the page that they become.
_PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
_ASSETS = {"images/icon.svg": "api/dashboard/static/icon.svg"}
# A link to a file: not an anchor, and not an address with a scheme.
_LINK = re.compile(r"(\]\()(?!#|[a-z]+:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for page, source in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    for asset, source in _ASSETS.items():
        files.append(File.generated(config, asset, abs_src_path=str(_ROOT / source)))
    document = json.loads((_ROOT / "docs/reference/openapi.json").read_text())
    files.append(File.generated(config, "reference/api.md", content=api_reference(document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites links between files of the checkout to links between pages. Links to other files become plain text."""
    folder = _ROOT / _PAGES[page.file.src_uri] if page.file.src_uri in _PAGES else _ROOT / "docs" / page.file.src_uri

    def rewritten(link: re.Match[str]) -> str:
        target = (folder.parent / link[2]).resolve()
        made = {(_ROOT / source).resolve(): name for name, source in _PAGES.items()}
        if target in made:
            uri = made[target]
        elif target.is_relative_to(_ROOT / "docs"):
            uri = target.relative_to(_ROOT / "docs").as_posix()
        else:
            return link[0]
        up = "../" * page.file.src_uri.count("/")
        return f"{link[1]}{up}{uri}"

    return _outside(_LINK.sub(rewritten, markdown))


def _outside(markdown: str) -> str:
    """Links to files and folders that are no pages, without the link."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!#|[a-z]+:)([^)\s]+)\)", _text_unless_page, markdown)


def _text_unless_page(link: re.Match[str]) -> str:
    return link[0] if link[2].partition("#")[0].endswith((".md", ".json", ".png", ".svg")) else link[1]
