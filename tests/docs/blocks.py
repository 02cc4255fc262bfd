"""The code blocks of the documentation.

A comment in the line above a block says why no test runs it, and is invisible on the page:

    <!-- not run: needs a cluster -->
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
# Output of commands, and code of other tools.
NOT_CODE = ("", "text")


@dataclass(frozen=True)
class Block:
    """A code block of a page. `reason` says why no test runs it; None for a block that a test runs."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def replaced(self, values: Mapping[str, str]) -> str:
        """The text with the values of this machine for those of the page, such as the address of the service."""
        text = self.text
        for written, actual in values.items():
            text = text.replace(written, actual)
        return text


def blocks(page: str) -> list[Block]:
    """All code blocks of a page, named as in `how-to/observe.md`, in their order."""
    text = (DOCS / page).read_text()
    found = [
        Block(page, text.count("\n", 0, each.start()) + 1, each["language"], each["text"], each["reason"])
        for each in _BLOCK.finditer(text)
    ]
    return [each for each in found if each.language not in NOT_CODE]


def to_run(page: str, *languages: str) -> list[Block]:
    """The blocks of a page that a test runs, of all or of some languages."""
    return [each for each in blocks(page) if each.reason is None and (not languages or each.language in languages)]


def pages() -> list[str]:
    """The tutorial, the how-to guides and the reference, without its generated pages."""
    written = ("reference/data.md", "reference/http.md", "reference/report.md")
    return ["tutorial.md", *(f"how-to/{path.name}" for path in sorted((DOCS / "how-to").glob("*.md"))), *written]
