"""The comparison with other tools: every "yes" of ours names an existing test, and every tool has a source."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/comparison.md").read_text()
TOOLS = ("torchdistill", "timm", "ModelOpt", "Olive", "NNCF", "Neural Compressor")


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading, with the header."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_feature_of_ttm_names_an_existing_test() -> None:
    header, *features = rows("What ttm offers")
    assert header == ["feature", "ttm", *TOOLS]
    assert len(features) > 10
    for feature, ours, *theirs in features:
        found = re.fullmatch(r"yes: `(tests/[\w/]+\.py)::(\w+)`", ours)
        assert found is not None, feature
        tree = ast.parse((ROOT / found[1]).read_text())
        assert found[2] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, ours
        assert len(theirs) == len(TOOLS)
        assert {cell.partition(" ")[0] for cell in theirs} <= {"yes", "-", "in"}, feature


def test_what_ttm_lacks_is_offered_by_a_tool_with_a_source() -> None:
    _, *lacking = rows("What ttm lacks")
    assert lacking
    _, *sources = rows("Sources")
    for tool in TOOLS:
        assert any(tool in name for name, _, _ in sources), tool
    for feature, by in lacking:
        assert set(by.split(", ")) <= set(TOOLS), feature
    assert re.search(r"^Checked on \d{4}-\d\d-\d\d", PAGE, re.M)
